"""Whole steps as one CUDA graph: captured once, replayed with new pictures. The host then launches one thing.

What torch asks of a capture: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clsfit.engine.compiled import full_size
from clsfit.engine.divergence import Watch
from clsfit.engine.step import Add, Forward, MayStep, Mode, Way
from clsfit.errors import ConfigError
from clsfit.pipeline.batches import Window
from clsfit.pipeline.loader import Batch

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_WARM_UP = 3  # steps


class Graphed:
    """Replays steps; those that no graph can take are called by Python.

    These are the first ones, in which libraries and the optimizer get what they allocate once, and the
    epoch's short last batch. All of them train: nothing is computed for the capture's sake. What changed
    between two epochs, such as the set of trained parameters, or the optimizer's state after a return to
    a checkpoint, is captured anew.

    Args:
        name: as ``--step`` calls it.
        run: whose steps they are; one micro-batch each.
        inner: how Python would execute them: eager, or compiled.
    """

    def __init__(self, name: str, run: Run, inner: Mode) -> None:
        self.name, self._inner, self._size = name, inner, full_size(run)
        self._stream = torch.cuda.Stream(run.device)  # type: ignore[no-untyped-call]
        self._warm = 0
        self._surroundings: Any = None
        self._captured: Captured | None = None
        self._capturing = False
        self._step: Generator[Any] | None = None

    def begin(self, run: Run, watch: Watch, batches: Iterator[Batch]) -> tuple[Forward, Way]:
        """See :class:`clsfit.engine.step.Mode`."""
        if self._captured is not None and self._surroundings != surroundings(run):
            self._captured, self._warm = None, 0

        def way(window: Window) -> Generator[tuple[Iterator[Batch], Add, MayStep]]:
            self._step = self._steps(run, watch, next(batches))
            return self._step

        return self._inner.begin(run, watch, batches)[0], way

    def explained(self, error: BaseException) -> BaseException:
        """See :class:`clsfit.engine.step.Mode`; also ends a capture that was left."""
        capturing = self._capturing
        if self._step is not None:
            with suppress(RuntimeError):  # what it says is that the capture has failed
                self._step.close()
        if not capturing or not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError):
            return self._inner.explained(error)
        reason = next(iter(str(error).splitlines()), "")
        return ConfigError(
            f"a step of this run cannot be captured in a CUDA graph: {reason}",
            "option --step; a component may read a value from the device within the step",
            "use --step eager or --step compile",
        )

    def _steps(self, run: Run, watch: Watch, batch: Batch) -> Generator[tuple[Iterator[Batch], Add, MayStep]]:
        plain = iter([batch]), run.sums.add, watch.may_step
        if len(batch.rows) != self._size:
            with _rates_from(run, _rounded(run)):
                yield plain
            return
        if self._warm < _WARM_UP:
            self._warm += 1
            own = torch.cuda.current_stream(run.device)  # torch asks for a stream of the graph's own
            self._stream.wait_stream(own)
            with torch.cuda.stream(self._stream), _rates_from(run, _rounded(run)):
                yield plain
            own.wait_stream(self._stream)
            return
        if self._captured is None:
            captured, self._capturing = Captured(run, watch, batch), True
            with captured.recording(self._stream):
                yield iter([captured.batch]), captured.add, captured.may_step
            self._captured, self._capturing = captured, False
            self._surroundings = surroundings(run)
        if self._captured.fits(batch):
            self._captured.replay(batch, run, watch)
        else:
            with _rates_from(run, _rounded(run)):
                yield plain


class Captured:
    """A graph, what it reads, and what it leaves.

    Attributes:
        batch: what each replay reads.
        logits: [B, K] float32, written anew by each replay.
        loss_sum: scalar, as ``logits``.
        diverged: float32 [1], as ``logits``; see :class:`clsfit.engine.precision.Precision`.
    """

    logits: torch.Tensor
    loss_sum: torch.Tensor
    diverged: torch.Tensor

    def __init__(self, run: Run, watch: Watch, batch: Batch) -> None:
        self._run, self._watch = run, watch
        weights = None if batch.weights is None else batch.weights.clone()
        self.batch = Batch(batch.images.clone(), batch.targets.clone(), weights, batch.rows, {})
        self._rates = [torch.zeros((), device=run.device) for _ in run.optimizer.param_groups]
        self._set: list[float | None] = [None] * len(self._rates)
        self._graph = torch.cuda.CUDAGraph()

    @contextmanager
    def recording(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """The step that is called inside is recorded, on :attr:`batch`; it computes nothing."""
        # Threads that prepare pictures go on meanwhile, and may allocate.
        capturing = torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local")
        with _rates_from(self._run, self._rates), capturing:
            yield

    def add(self, logits: torch.Tensor, targets: torch.Tensor, loss_sum: torch.Tensor) -> None:
        """Called by the step while it is captured, in the sums' place."""
        self.logits, self.loss_sum = logits, loss_sum

    def may_step(self) -> bool:
        """Called by the step while it is captured, in the watch's place: the flag skips the update."""
        self._watch.arm()
        self.diverged = self._run.precision.diverged
        return True

    def fits(self, batch: Batch) -> bool:
        """Whether ``batch`` can be read by the graph: an augmentation may mix the targets of some batches only."""
        own = self.batch
        shapes = [(part.images.shape, part.targets.shape, part.targets.dtype) for part in (own, batch)]
        return shapes[0] == shapes[1] and (own.weights is None) == (batch.weights is None)

    def replay(self, batch: Batch, run: Run, watch: Watch) -> None:
        """Trains ``batch``, which fits, with the learning rates of now."""
        own = self.batch
        own.images.copy_(batch.images)
        own.targets.copy_(batch.targets)
        if own.weights is not None and batch.weights is not None:
            own.weights.copy_(batch.weights)
        for place, group in enumerate(run.optimizer.param_groups):
            rate = group["lr"] * run.lr_factor
            if rate != self._set[place]:
                self._rates[place].fill_(rate)
                self._set[place] = rate
        self._graph.replay()
        run.sums.add(self.logits.clone(), batch.targets, self.loss_sum.clone())
        watch.note(self.diverged.clone())


def _rounded(run: Run) -> list[float]:
    """The learning rates as a replay would read them: a resumed run makes plain steps where others replay."""
    return [float(np.float32(group["lr"] * run.lr_factor)) for group in run.optimizer.param_groups]


@contextmanager
def _rates_from(run: Run, rates: Sequence[torch.Tensor | float]) -> Iterator[None]:
    """The step's learning rates, the run's factor included; a graph reads tensors, in which floats would be frozen."""
    planned, factor = [group["lr"] for group in run.optimizer.param_groups], run.lr_factor
    try:
        run.lr_factor = 1.0
        for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        yield
    finally:
        run.lr_factor = factor
        for group, lr in zip(run.optimizer.param_groups, planned, strict=True):
            group["lr"] = lr


def surroundings(run: Run) -> tuple[Any, ...]:
    """What a graph has taken for given: where tensors lie, what is trained, modes of layers, the groups' options."""
    parts = run.model, run.loss
    weights = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    kept = [value for state in getattr(run.optimizer, "state", {}).values() for value in state.values()]
    kept += run.precision.state_dict().values()
    return (
        [(tensor.data_ptr(), tensor.requires_grad) for tensor in weights],
        [value.data_ptr() if isinstance(value, torch.Tensor) else value for value in kept],
        [module.training for part in parts for module in part.modules()],
        [{k: v for k, v in group.items() if k not in {"params", "lr"}} for group in run.optimizer.param_groups],
    )
