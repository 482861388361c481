"""Where canvases lie: in memory, in a mapped file, or nowhere; and how they get there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clsfit.data import cache as files
from clsfit.data.checks import fault_of
from clsfit.data.child import Canvas
from clsfit.data.decode import PictureError
from clsfit.data.processes import Decode
from clsfit.errors import DataError, printable


class NoRoom(Exception):
    """The canvases take more memory than they may."""


class Store(Protocol):
    """Canvases by row.

    Attributes:
        uniform: [N, H, W, C] uint8 where all lie in memory and have one size, else None.
    """

    @property
    def uniform(self) -> npt.NDArray[np.uint8] | None:
        """The attribute."""

    def get(self, row: int) -> Canvas:
        """The canvas of ``row``."""

    def select(self, rows: npt.NDArray[np.int64]) -> Store:
        """The store whose row i is this one's ``rows[i]``."""


class MemoryStore:
    """Canvases in memory: those of the common size in one block, others singly."""

    def __init__(self, block: npt.NDArray[np.uint8] | None, inside: npt.NDArray[np.bool_], others: dict[int, Canvas]):
        self._block, self._inside, self._others = block, inside, others
        self.uniform = block if block is not None and not others else None

    def get(self, row: int) -> Canvas:
        if self._block is not None and self._inside[row]:
            canvas: Canvas = self._block[row]
            return canvas
        return self._others[row]

    def select(self, rows: npt.NDArray[np.int64]) -> MemoryStore:
        others = {i: self._others[row] for i, row in enumerate(rows.tolist()) if row in self._others}
        return MemoryStore(None if self._block is None else self._block[rows], self._inside[rows], others)


class MemoryWriter:
    """Puts canvases straight into their place in memory; several threads may add.

    Args:
        total: rows.
        uniform: whether one size is expected, so that a block for all is worth having. It is taken
            from the system page by page as it fills.
        limit: bytes that all canvases may take; None is no limit.

    Attributes:
        taken: bytes of all canvases.
    """

    def __init__(self, total: int, uniform: bool, limit: int | None) -> None:
        self.taken = 0
        self._total, self._uniform, self._limit = total, uniform, limit
        self._block: npt.NDArray[np.uint8] | None = None
        self._inside = np.zeros(total, dtype=bool)
        self._others: dict[int, Canvas] = {}
        self._lock = threading.Lock()

    def add(self, batch: list[tuple[int, Canvas]]) -> None:
        """Takes canvases.

        Raises:
            NoRoom: they would pass the limit.
        """
        with self._lock:
            self.taken += sum(canvas.nbytes for _, canvas in batch)
            if self._limit is not None and self.taken > self._limit:
                raise NoRoom("the canvases take more memory than was estimated")
            if self._block is None and self._uniform:
                self._reserve(batch[0][1].shape)
            block = self._block
        for row, canvas in batch:
            if block is not None and canvas.shape == block.shape[1:]:
                block[row] = canvas
                self._inside[row] = True
            else:
                self._others[row] = canvas

    def store(self) -> MemoryStore:
        """All that was added."""
        return MemoryStore(self._block, self._inside, self._others)

    def _reserve(self, shape: tuple[int, ...]) -> None:
        try:
            self._block = np.zeros((self._total, *shape), dtype=np.uint8)
        except MemoryError:
            self._uniform = False


class MappedStore:
    """Canvases in a mapped cache file."""

    uniform = None

    def __init__(
        self,
        data: npt.NDArray[np.uint8],
        sizes: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        channels: int,
    ) -> None:
        self._data, self._sizes, self._offsets, self._channels = data, sizes, offsets, channels

    def get(self, row: int) -> Canvas:
        height, width = self._sizes[row].tolist()
        start = int(self._offsets[row])
        if start < 0:
            raise KeyError(row)
        return self._data[start : start + height * width * self._channels].reshape(height, width, self._channels)

    def select(self, rows: npt.NDArray[np.int64]) -> MappedStore:
        return MappedStore(self._data, self._sizes[rows], self._offsets[rows], self._channels)


class MappedWriter:
    """Writes canvases to a cache file in the order in which they come; several threads may add."""

    def __init__(self, folder: Path, total: int) -> None:
        self._writer = files.Writer(folder)
        self._offsets = np.full(total, -1, dtype=np.int64)

    def __enter__(self) -> MappedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, batch: list[tuple[int, Canvas]]) -> None:
        """Takes canvases.

        Raises:
            OSError: the disk is full or fails.
        """
        offset = self._writer.add(b"".join(canvas.tobytes() for _, canvas in batch))
        for row, canvas in batch:
            self._offsets[row] = offset
            offset += canvas.nbytes

    def finish(
        self, path: Path | None, key: str, sizes: npt.NDArray[np.int64], bad: Mapping[int, str]
    ) -> files.CacheFile:
        """Puts the file in its place; see :meth:`clsfit.data.cache.Writer.finish`."""
        return self._writer.finish(path, key, sizes, self._offsets, bad)


class StreamStore:
    """Decodes on demand.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        decode: its canvases by row.
        checked: [N, 2] int64, the sizes that an earlier pass found, or None: never decoded before.
        rows: [M] int64, rows of the source; None is all.
    """

    uniform = None

    def __init__(
        self,
        source: Any,
        decode: Decode,
        checked: npt.NDArray[np.int64] | None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._source, self._decode, self._checked, self._rows = source, decode, checked, rows

    def get(self, row: int) -> Canvas:
        place = row if self._rows is None else int(self._rows[row])
        try:
            canvas = self._decode(place)
            if self._checked is not None and canvas.shape[:2] != tuple(self._checked[row]):
                raise PictureError("its size is another")
        except (OSError, PictureError) as error:
            if self._checked is None:
                raise PictureError(fault_of(error)) from error
            raise DataError(
                f"a picture changed after it was checked: {fault_of(error)}",
                printable(self._source.table().paths[place]),
                "leave the data set alone while it is in use",
            ) from error
        return canvas

    def select(self, rows: npt.NDArray[np.int64]) -> StreamStore:
        places = rows if self._rows is None else self._rows[rows]
        return StreamStore(self._source, self._decode, None if self._checked is None else self._checked[rows], places)
