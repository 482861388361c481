"""One Parquet file, open: its columns as they come, in windows of rows; errors of pyarrow as clsfit's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from clsfit.data.decode import PictureError
from clsfit.data.reading import open_regular
from clsfit.errors import ClsfitError, DataError, printable
from clsfit.shortage import exhausted, shortage

WINDOW = 16 << 20
"""Bytes of a column that are decoded at a time, as the file declares them."""

_EXPANDED = 1 << 30  # bytes of a window at most, whatever the file's dictionary repeats
_ROWS = 1_000_000  # a file may have as many rows as bytes, and this many in any case
_SMALLER = "free some memory, or write the file with smaller row groups"
_DICTIONARY, _I32 = 2, 0x15  # the type of a page, and how a field of 32 bits is announced behind another


class Leaf(NamedTuple):
    """A column that has values of its own: the one at the top, or a field of it.

    Attributes:
        top: the column's name.
        path: with the field's behind a dot, as the file's metadata has it.
    """

    top: str
    path: str


class File:
    """A Parquet file that is open for reading; a copy of it in another process opens it anew.

    Args:
        path: of a regular file.
        state: size and time of change (ns) that it must have, of a copy; None: as it is now.

    Attributes:
        path: of the file.
        state: its size in bytes, and when it was changed, in ns.

    Raises:
        DataError: it is no Parquet file, or cannot be read.
        ResourceError: the system has no handle or memory left.
    """

    def __init__(self, path: str, state: tuple[int, int] | None = None) -> None:
        self.path = path
        with reading(path):
            self.state = state or _state(path)
            self._file = pa.OSFile(path)
            self._parquet = pq.ParquetFile(self._file, pre_buffer=False, buffer_size=1 << 20)
            self.schema: pa.Schema = self._parquet.schema_arrow
            self._steps: dict[tuple[int, Leaf], int] = {}
            self._check()

    def __reduce__(self) -> tuple[type[File], tuple[str, tuple[int, int]]]:
        return File, (self.path, self.state)

    def __len__(self) -> int:
        return int(self._parquet.metadata.num_rows)

    @property
    def groups(self) -> list[int]:
        """Rows of each row group."""
        metadata = self._parquet.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def size(self, group: int) -> int:
        """Bytes of a row group, not compressed, as the file declares them."""
        return int(self._parquet.metadata.row_group(group).total_byte_size)

    def use(self, leaves: Sequence[Leaf]) -> None:
        """To be called before columns are read: looks how many rows of each may be decoded at a time."""
        schema = self._parquet.schema
        places = {schema.column(place).path: place for place in range(len(schema.names))}
        for group, rows in enumerate(self.groups):
            if not rows:
                continue
            # A row is read first: what pyarrow cannot read of a column's metadata it reports so, where asking it for
            # that metadata would end the process.
            next(self._parquet.iter_batches(1, [group], [leaf.path for leaf in leaves], use_threads=False))
            for leaf in leaves:
                step = rows * WINDOW // max(1, self.size(group))
                most = self._dictionary(group, places[leaf.path])  # and that value may stand in each row
                self._steps[group, leaf] = max(1, min(step, rows, _EXPANDED // max(1, most)))

    def step(self, group: int, leaf: Leaf) -> int:
        """Rows of a window of a column, at least one: as many as take about :data:`WINDOW` bytes."""
        return self._steps.get((group, leaf), 1)

    def windows(self, group: int, leaf: Leaf) -> Iterator[pa.Array]:
        """The values of a column in a row group, :meth:`step` rows at a time; to be used by one thread at a time."""
        for batch in self._parquet.iter_batches(self.step(group, leaf), [group], [leaf.path], use_threads=False):
            yield batch.column(batch.schema.get_field_index(leaf.top))

    def values(self, leaf: Leaf) -> Iterator[pa.Array]:
        """All values of a column, in pieces as small as the smallest window."""
        step = min((step for (_, used), step in self._steps.items() if used == leaf), default=1)
        for batch in self._parquet.iter_batches(step, None, [leaf.path], use_threads=False):
            yield batch.column(batch.schema.get_field_index(leaf.top))

    def refuse_changed(self) -> None:
        """Raises PictureError where somebody has written to the file."""
        state = os.fstat(self._file.fileno())
        if (state.st_size, state.st_mtime_ns) != self.state:
            raise PictureError("the Parquet file has changed since it was opened")

    def _dictionary(self, group: int, place: int) -> int:
        """Bytes of the values that rows of a column refer to, by the page's own header; 0: they refer to none."""
        chunk = self._parquet.metadata.row_group(group).column(place)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        try:
            kind, size = _fields(self._file.read_at(24, max(0, start)))
        except (IndexError, ValueError):
            return int(chunk.total_uncompressed_size)
        return size if kind == _DICTIONARY else 0

    def _check(self) -> None:
        """Refuses what the file says of itself and cannot be true."""
        metadata, (size, _) = self._parquet.metadata, self.state
        if metadata.num_rows > max(_ROWS, size):
            raise DataError(f"the file has {metadata.num_rows:,} rows in {size:,} bytes", printable(self.path))
        groups = self.groups
        if sum(groups) != metadata.num_rows or min(groups, default=0) < 0:
            raise _damaged(self.path, "its row groups have not as many rows as it says")
        if len(set(self.schema.names)) < len(self.schema.names):
            twice = next(name for name in self.schema.names if self.schema.names.count(name) > 1)
            raise DataError(f"two columns are called {printable(twice)!r}", printable(self.path), "rename one of them")


def _fields(head: bytes) -> tuple[int, int]:
    """Type of a page and its size in bytes, of a page header in Thrift's compact protocol."""
    found, place = [], 0
    for _ in range(2):
        if head[place] != _I32:
            raise ValueError("no such field")
        place, value, shift = place + 1, 0, 0
        while True:
            byte = head[place]
            value |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                break
        found.append((value >> 1) ^ -(value & 1))
    return found[0], found[1]


def _state(path: str) -> tuple[int, int]:
    handle, state = open_regular(path)
    os.close(handle)
    return state.st_size, state.st_mtime_ns


def _damaged(path: str, why: str) -> DataError:
    return DataError(f"the Parquet file is damaged: {why}", printable(path), "copy or make it anew")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Around what reads the file: whatever goes wrong is the file's fault, or the machine lacks something.

    Raises:
        DataError, ResourceError: as said.
    """
    try:
        yield
    except ClsfitError:
        raise
    except PictureError as error:
        raise DataError(f"the Parquet file cannot be read: it is {error}", printable(path)) from error
    except Exception as error:
        of_system = isinstance(error, OSError) and error.errno is not None
        scarce = exhausted(error) if isinstance(error, OSError) else shortage(error, _SMALLER)
        if scarce:
            raise scarce from error
        if of_system:
            raise DataError(f"the Parquet file cannot be read: {why_of(error)}", printable(path)) from error
        raise _damaged(path, why_of(error)) from error


def why_of(error: Exception) -> str:
    """What pyarrow or the system say, as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        text = (error.strerror or text).lower()
    return printable(text[:200]).rstrip(". ") or type(error).__name__
