"""A bound on the memory that building a model may ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from clsfit.errors import CheckpointError

_BY_SIZE = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.empty_permuted})
_BY_FIRST = frozenset({torch.full, torch.empty_strided})
_BY_SECOND = frozenset({torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_full})
_BY_NUMBERS = frozenset({torch.arange, torch.linspace, torch.logspace, torch.randperm})
_TIMES, _BESIDE = 8, 256 << 20
"""How often the file's size, and how many bytes beside it: for what is drawn and thrown away again."""


class Allocations(TorchFunctionMode):
    """Inside of it, tensors made by size count, and none is made that would pass the bound.

    Values are drawn as they are without it. It sees what Python code makes: layers, buffers, tables.

    Args:
        most: bytes in all.
        refusal: makes the error, from the bytes that would have been reached.
    """

    def __init__(self, most: int, refusal: Callable[[int], Exception]) -> None:
        super().__init__()
        self._left, self._most, self._refusal = most, most, refusal

    @classmethod
    def of_file(cls, size: int) -> Allocations:
        """For the model of a file of ``size`` bytes, which holds all its numbers.

        Raises:
            CheckpointError: inside of it, where a header asks for more.
        """
        return cls(
            _TIMES * size + _BESIDE,
            lambda bytes_: CheckpointError(
                f"the model file's header asks for a model of {bytes_:,} bytes or more, and the file has {size:,}",
                "",
                "do not use it; train again, or ask who made it",
            ),
        )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type[Any]],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Counts what ``func`` would make, then calls it."""
        kwargs = kwargs or {}
        count = _count(func, args, kwargs)
        if count:
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            self._left -= count * dtype.itemsize
            if self._left < 0:
                raise self._refusal(self._most - self._left)
        return func(*args, **kwargs)


def _count(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """How many numbers the tensor has that ``func`` makes; 0 where it makes none by size."""
    if func in _BY_SIZE:
        return _product(args if args else (kwargs.get("size", ()),))
    if func in _BY_FIRST:
        return _product(args[:1] if args else (kwargs.get("size", ()),))
    if func in _BY_SECOND:
        return _product(args[1:] if func is not torch.Tensor.new_full else args[1:2])
    if func is torch.eye:
        return _product(args if len(args) > 1 else (*args, *args))
    if func in _BY_NUMBERS:
        return max((int(abs(arg)) for arg in (*args, *kwargs.values()) if isinstance(arg, int | float)), default=0)
    return 0


def _product(sizes: Sequence[Any]) -> int:
    flat = [part for size in sizes for part in (size if isinstance(size, tuple | list) else (size,))]
    return math.prod(part for part in flat if isinstance(part, int))
