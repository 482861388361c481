"""Memory for batches that is used again, since the system takes longer to give new pages than to fill them.

A batch of photographs is tens of MiB, which the allocator hands back to the system whenever one is dropped and
gets again, page by page and filled with zeros, for the next.
"""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
import numpy.typing as npt
import torch

_WORTH = 1 << 20  # bytes; smaller blocks stay with the process anyway
_KEPT = 8  # blocks of one size: those of the batches that are under way
_ALIGNMENT = 64  # bytes
_SIZES = 4  # sizes: of a pass's full and last batches, as numbers and as pixels

Block = npt.NDArray[np.uint8]


def _references(blocks: list[Block], place: int) -> int:
    """How many references there are to a block; a tensor made of it has one until the memory is no longer used."""
    return sys.getrefcount(blocks[place])


_UNUSED = _references([np.empty(0, dtype=np.uint8)], 0)


class Buffers:
    """Blocks of memory, each lent again when the last tensor in it is gone. Safe for several threads."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[Block]] = {}
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised tensor on the host, contiguous.

        Its memory is lent until neither it nor a view of it is held by anybody, autograd included.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < _WORTH:
            return torch.empty(shape, dtype=dtype)
        return torch.from_numpy(self._block(size)).view(dtype).view(shape)

    def _block(self, size: int) -> Block:
        with self._lock:
            blocks = self._blocks.pop(size, [])
            self._blocks[size] = blocks  # the size that was asked for last is dropped last
            if len(self._blocks) > _SIZES:
                del self._blocks[next(iter(self._blocks))]
            for place in range(len(blocks)):
                if _references(blocks, place) == _UNUSED:
                    return blocks[place]
            block = _aligned(size)
            if len(blocks) < _KEPT:
                blocks.append(block)
            return block


def _aligned(size: int) -> Block:
    """uint8 [size], newly made, that begins where torch's own tensors would.

    numpy asks the system for huge pages where an array takes several MiB, which torch does not.
    """
    whole = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    first = -whole.ctypes.data % _ALIGNMENT
    return whole[first : first + size]
