"""One optimizer step. How it is executed is a value, a :class:`Mode`, that the run holds and the loop calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch

from clsfit.engine.closure import Closure
from clsfit.engine.divergence import Rows, Watch
from clsfit.engine.infer import loss_sum, takes_images
from clsfit.pipeline.batches import Window
from clsfit.pipeline.loader import Batch

if TYPE_CHECKING:
    from clsfit.engine.run import Run

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Logits [B, K] from images [B, C, H, W] in training: the run's model, or a faster form of the same."""

TakeStep = Callable[[Window, Iterator[Batch]], None]
"""Trains one window, whose micro-batches are the iterator's next ones."""


class Mode(Protocol):
    """A way to execute steps, chosen once per run.

    Attributes:
        name: as ``--step`` calls it.
    """

    name: str

    def begin(self, run: Run, watch: Watch) -> TakeStep:
        """What takes the steps of the epoch that begins; weights, layers and callbacks are as they stay in it."""


class Eager:
    """Every operation is called by Python, one after the other."""

    name = "eager"

    def begin(self, run: Run, watch: Watch) -> TakeStep:
        """See :class:`Mode`."""
        return Step(run, run.model, watch, run.sums)


class Counted(Protocol):
    """What gets the results of micro-batches: :class:`clsfit.engine.sums.Sums`, or a graph that keeps them."""

    def add(self, logits: torch.Tensor, targets: torch.Tensor, loss_sum: torch.Tensor) -> None:
        """Adds a micro-batch; see :meth:`clsfit.engine.sums.Sums.add`."""


class Guard(Protocol):
    """What guards the optimizer: :class:`clsfit.engine.divergence.Watch`, or a graph, whose host looks later."""

    def may_step(self, rows: Rows) -> bool:
        """Whether to call the optimizer; see :meth:`clsfit.engine.divergence.Watch.may_step`."""


class Step:
    """Forward, loss and backward of a window's micro-batches, the check of what they gave, and the update.

    It reads ``run.precision``, ``run.optimizer`` and so on once, so one is made per epoch.

    Args:
        run: whose step it is.
        forward: the model, or what computes the same.
        watch: guards the optimizer, and the closure of one that evaluates again.
        sums: gets what each micro-batch gave.
        guard: what is asked before the update, where that is not ``watch``.
    """

    def __init__(self, run: Run, forward: Forward, watch: Watch, sums: Counted, guard: Guard | None = None) -> None:
        self._run, self._forward = run, forward
        self._loss, self._precision, self._optimizer = run.loss, run.precision, run.optimizer
        self._with_images, self._parameters = takes_images(run.loss), run.parameters
        self._add, self._may_step = sums.add, (guard or watch).may_step
        self._again = Closure(run, watch, forward)
        self._on_gradients = run.hooks.teller("on_gradients")
        self._clear = _clearing(run.optimizer, self._parameters)

    def __call__(self, window: Window, batches: Iterator[Batch]) -> None:
        """Trains ``window``.

        Raises:
            DivergedError: a loss or a gradient is not finite; the weights never see it.
        """
        loss, precision, again = self._loss, self._precision, self._again
        again.window, rows, totals = [], [], []
        for _ in window.bounds:
            batch = next(batches)
            with precision.autocast():
                logits = self._forward(batch.images)
            logits = logits.float()
            extra: dict[str, Any] = {"images": batch.images} if self._with_images else {}
            values = loss(logits, batch.targets, **extra)
            precision.backward(values, batch.weights, len(batch.rows), window.samples)
            totals.append(loss_sum(values.detach(), batch))
            self._add(logits.detach(), batch.targets, totals[-1])
            rows.append(batch.rows)
            if again.arguments:
                again.window.append(batch)
        precision.check([g for p in self._parameters if (g := p.grad) is not None], totals)
        if self._on_gradients:
            self._on_gradients(run=self._run)
        if self._may_step(rows):
            with self._run.rates():
                self._optimizer.step(*again.arguments)
        self._clear()


def _clearing(optimizer: Any, parameters: list[torch.nn.Parameter]) -> Callable[[], None]:
    """``optimizer.zero_grad``, or what torch's own does, less the record for its profiler: that takes 6 % of a
    small model's step."""
    clear: Callable[[], None] = optimizer.zero_grad
    if getattr(clear, "__func__", None) is not torch.optim.Optimizer.zero_grad:
        return clear

    def drop() -> None:
        for parameter in parameters:
            parameter.grad = None

    return drop
