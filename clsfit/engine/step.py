"""How a step is executed: a value that the run holds, a :class:`Mode`. The step itself is in ``engine/fit.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch

from clsfit.engine.divergence import Watch
from clsfit.pipeline.batches import Window
from clsfit.pipeline.loader import Batch

if TYPE_CHECKING:
    from clsfit.engine.run import Run

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Logits [B, K] from images [B, C, H, W] in training: the run's model, or a faster form of the same."""

Add = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
"""What gets logits, targets and loss of a micro-batch: :meth:`clsfit.engine.sums.Sums.add`, or a graph."""

MayStep = Callable[[], bool]
"""Whether to call the optimizer: :meth:`clsfit.engine.divergence.Watch.may_step`, or a graph, which skips later."""

Way = Callable[[Window], Iterable[tuple[Iterator[Batch], Add, MayStep]]]
"""What Python has to do for a window: the step, once, with these; or nothing, where a graph has done it."""


class Mode(Protocol):
    """A way to execute steps, chosen once per run.

    Attributes:
        name: as ``--step`` calls it.
    """

    name: str

    def begin(self, run: Run, watch: Watch, batches: Iterator[Batch]) -> tuple[Forward, Way]:
        """What the epoch that begins is trained with; layers, callbacks and what is trained stay as they are in it.

        Args:
            run: whose epoch it is.
            watch: guards its optimizer.
            batches: its micro-batches that are still to come.
        """

    def explained(self, error: BaseException) -> BaseException:
        """``error``, which ended the run, or one that says what to do where this mode is why."""


class Eager:
    """Every operation is called by Python, one after the other."""

    name = "eager"

    def begin(self, run: Run, watch: Watch, batches: Iterator[Batch]) -> tuple[Forward, Way]:
        """See :class:`Mode`."""
        return run.model, called(run, watch, batches)

    def explained(self, error: BaseException) -> BaseException:
        """See :class:`Mode`."""
        return error


def called(run: Run, watch: Watch, batches: Iterator[Batch]) -> Way:
    """The way in which Python does everything itself."""
    once = ((batches, run.sums.add, watch.may_step),)
    return lambda window: once


def clearing(optimizer: Any, parameters: list[torch.nn.Parameter]) -> Callable[[], None]:
    """``optimizer.zero_grad``, or what torch's own does, less the record for its profiler: that takes 6 % of a
    small model's step."""
    clear: Callable[[], None] = optimizer.zero_grad
    if getattr(clear, "__func__", None) is not torch.optim.Optimizer.zero_grad:
        return clear

    def drop() -> None:
        for parameter in parameters:
            parameter.grad = None

    return drop
