"""The pictures in one column of a Parquet file, by row: decoded a window at a time, the last windows kept."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from clsfit.data.decode import PictureError
from clsfit.data.reading import refuse_large
from clsfit.errors import ResourceError
from clsfit.shortage import exhausted, shortage
from clsfit_parquet.file import File, Leaf, reading, why_of

KEPT = 256 << 20
"""Bytes of decoded windows that are kept, in each process."""


class Pictures:
    """The values of a column of bytes, read by several threads if need be.

    A Parquet file says where a row group begins, and not where a row does: to find one, all rows of its group that
    stand before it are decoded. So a group is decoded from its beginning, window by window, as far as is asked; the
    windows that were asked for last are kept, and the next one goes on where the last one ended.

    Args:
        file: the file.
        leaf: the column.
        lengths: of a copy; None: they are counted, which decodes the column once.

    Attributes:
        lengths: [N] int64, bytes of each picture; -1 where there is none.

    Raises:
        DataError: the file is damaged.
        ResourceError: there is not enough memory.
    """

    def __init__(self, file: File, leaf: Leaf, lengths: npt.NDArray[np.int64] | None = None) -> None:
        self._file, self._leaf = file, leaf
        groups = file.groups
        self._starts = [0, *accumulate(groups)]
        with reading(file.path):
            file.use([leaf])
        self._steps = [file.step(group, leaf) for group in range(len(groups))]
        self._kept: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._bytes = 0
        self._stream: tuple[int, int, Iterator[Any]] | None = None  # group, its next window, those that are to come
        self._looking, self._decoding = threading.Lock(), threading.Lock()
        self.lengths = self._counted() if lengths is None else lengths

    def __reduce__(self) -> tuple[type[Pictures], tuple[File, Leaf, npt.NDArray[np.int64]]]:
        return Pictures, (self._file, self._leaf, self.lengths)

    def read(self, row: int, length: int | None = None) -> bytes:
        """The picture of a row, at most its first ``length`` bytes.

        Raises:
            PictureError: the file has changed since it was opened, or is damaged; the picture is too large.
            OSError: the file cannot be read.
            ResourceError: there is not enough memory.
        """
        refuse_large(int(self.lengths[row]))
        self._file.refuse_changed()
        group = bisect_right(self._starts, row) - 1
        window, place = divmod(row - self._starts[group], self._steps[group])
        try:
            values = self._window(group, window)
            return bytes(values[place].as_py()[:length])
        except PictureError:
            raise
        except Exception as error:
            of_system = isinstance(error, OSError) and error.errno is not None
            if scarce := exhausted(error) if of_system else shortage(error, "write it with smaller row groups"):
                raise scarce from error
            if of_system or isinstance(error, ResourceError):
                raise
            raise PictureError(f"damaged in the Parquet file: {why_of(error)}") from error

    def _window(self, group: int, window: int) -> Any:
        """The values of a window, kept or decoded now."""
        if (found := self._look(group, window)) is not None:
            return found
        with self._decoding:
            if (found := self._look(group, window)) is not None:  # by another thread, in the meantime
                return found
            stream, self._stream = self._stream, None
            if stream is None or stream[0] != group or stream[1] > window:
                stream = (group, 0, self._file.windows(group, self._leaf))
            _, first, coming = stream
            for at in range(first, window + 1):
                values = self._checked(_bytes_in(next(coming)), group, at)
                self._keep(group, at, values)
            self._stream = (group, window + 1, coming)
            return values

    def _checked(self, values: Any, group: int, window: int) -> Any:
        """A window whose pictures are as long as they were."""
        start = self._starts[group] + window * self._steps[group]
        if not np.array_equal(_lengths(values), self.lengths[start : start + len(values)]):
            raise PictureError("the Parquet file has changed since it was opened")
        return values

    def _look(self, group: int, window: int) -> Any:
        with self._looking:
            if (found := self._kept.get((group, window))) is not None:
                self._kept.move_to_end((group, window))
            return found

    def _keep(self, group: int, window: int, values: Any) -> None:
        """Keeps a window, and forgets those for which there is no more room."""
        with self._looking:
            if (before := self._kept.pop((group, window), None)) is not None:  # passed again, on the way to another
                self._bytes -= before.nbytes
            self._kept[group, window] = values
            self._bytes += values.nbytes
            while self._bytes > KEPT and len(self._kept) > 1:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.nbytes

    def _counted(self) -> npt.NDArray[np.int64]:
        with reading(self._file.path):
            found = [_lengths(_bytes_in(values)) for values in self._file.values(self._leaf)]
            if sum(map(len, found)) != len(self._file):
                raise ValueError("it has not as many pictures as rows")
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _bytes_in(values: Any) -> Any:
    """The bytes of a column's window, which may be a field of it; null where either is."""
    if types.is_struct(values.type):
        values = pc.struct_field(values, [values.type.get_field_index("bytes")])
    return values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values


def _lengths(values: Any) -> npt.NDArray[np.int64]:
    """[M] int64; -1 for null."""
    counted = pc.fill_null(pc.binary_length(values).cast(pa.int64()), -1)
    return np.asarray(counted.to_numpy(zero_copy_only=False), dtype=np.int64)
