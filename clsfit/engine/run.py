"""A run: what is being trained, on what, and how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.contracts import Metric, Optimizer, Sampler, Scheduler
from clsfit.engine.moments import CallbackHooks
from clsfit.engine.precision import Precision
from clsfit.engine.report import Reporter
from clsfit.engine.sums import Sums
from clsfit.errors import ConfigError, PluginError
from clsfit.pipeline.batches import Window, batch_bounds
from clsfit.pipeline.loader import Batch, Loader
from clsfit.storage.rundir import RunDirectory


@dataclass(frozen=True, slots=True)
class Monitor:
    """What decides which epoch is the best: a key of metrics.jsonl and its direction."""

    key: str
    higher_is_better: bool

    def better(self, value: float | None, than: float | None, by: float = 0.0) -> bool:
        """Whether ``value`` improves on ``than`` by more than ``by``; an undefined one never does."""
        if value is None or math.isnan(value):
            return False
        if than is None:
            return True
        return value > than + by if self.higher_is_better else value < than - by


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far (from 1), the monitor's value there, and the step it ended at."""

    epoch: int
    monitor: str
    value: float
    step: int


@dataclass(frozen=True, slots=True)
class LastSave:
    """The newest checkpoint: its step, when it was done (:func:`time.monotonic`), seconds it took."""

    step: int
    finished_at: float
    duration: float


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of one split.

    Attributes:
        loader: makes batches of them.
        rows: [N] int64, their rows in the sample table.
        targets: [N] int64.
        paths: of the whole table, to name pictures by their row.
    """

    loader: Loader
    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    paths: tuple[str, ...]


def order_of(sampler: Sampler, epoch: int, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order of ``epoch``, int64 [M].

    Raises:
        PluginError: it is no list of positions in ``targets`` (a negative one would count from the end).
    """
    order = np.asarray(sampler.order(epoch, targets))
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise _broken_order(sampler, f"{order.dtype} {list(order.shape)} instead of positions [M]")
    if order.min() < 0 or order.max() >= len(targets):
        raise _broken_order(sampler, f"positions {order.min()} to {order.max()} in a set of {len(targets)}")
    return order.astype(np.int64, copy=False)


def _broken_order(sampler: Sampler, reason: str) -> PluginError:
    return PluginError(
        f"the sampler gave {reason}",
        f"{type(sampler).__module__}.{type(sampler).__name__}",
        "see clsfit.contracts.Sampler for what it owes",
    )


@dataclass(eq=False)
class Run:
    """The state of a training run, which callbacks receive.

    Attributes:
        windows: the micro-batches of each optimizer step of an epoch.
        header: what a model file says beside the weights.
        packages: top-level package of each component, and its distribution with version.
        notes: what building it found worth saying, a line each.
        epoch: finished epochs; 0 during the first one.
        step: finished optimizer steps.
        epoch_start: the step at which the current epoch began.
        scores: the last epoch's row of metrics.jsonl.
        monitor: what ``best`` is judged by.
        best: the best epoch so far, None before the first.
        stop_reason: why the run ends early, or ended; empty while it goes on.
    """

    model: torch.nn.Module
    loss: torch.nn.Module
    optimizer: Optimizer
    scheduler: Scheduler
    sampler: Sampler
    hooks: CallbackHooks
    train: Part
    val: Part | None
    metric_factories: Mapping[str, Callable[[], Metric]]
    precision: Precision
    device: torch.device
    seed: int
    epochs: int
    batch_size: int
    windows: list[Window]
    monitor: Monitor
    reporter: Reporter
    directory: RunDirectory | None
    header: Mapping[str, Any]
    packages: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    epoch: int = 0
    step: int = 0
    epoch_start: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    best: Best | None = None
    stop_reason: str = ""
    last_save: LastSave | None = None
    sums: Sums = field(init=False)
    lr: float = field(init=False)
    seconds: float = 0.0
    train_seconds: float = 0.0
    interrupt: int = 0
    save_due: bool = False

    def __post_init__(self) -> None:
        self.sums = self.new_sums()
        self.lr = self.optimizer.param_groups[0]["lr"]
        self._saved_at: tuple[int, int] | None = None

    @property
    def inside_epoch(self) -> bool:
        """Whether steps of the current epoch are done; also after its last one, until the epoch is counted."""
        return self.step > self.epoch_start

    @property
    def goes_on(self) -> bool:
        """Whether there is an epoch to train or to finish: one that was begun is always judged."""
        return self.epoch < self.epochs and (self.inside_epoch or not self.stop_reason)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return len(self.windows)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters that the optimizer trains."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def stop(self, reason: str) -> None:
        """Ends the run after this step; ``reason`` is recorded in summary.json."""
        self.stop_reason = self.stop_reason or reason

    def say(self, line: str) -> None:
        """One line on stderr and in log.txt."""
        self.reporter.say(line)

    def new_sums(self) -> Sums:
        """Empty sums with fresh metrics."""
        return Sums({name: factory() for name, factory in self.metric_factories.items()})

    def epoch_batches(self) -> Iterator[Batch]:
        """The epoch's micro-batches that are still to come.

        Raises:
            PluginError: the sampler breaks its contract.
        """
        order = order_of(self.sampler, self.epoch, self.train.targets)
        planned = self.windows[-1].bounds[-1][1]
        if len(order) != planned:
            raise _broken_order(self.sampler, f"{len(order)} positions in epoch {self.epoch}, {planned} in epoch 0")
        bounds = [bound for window in self.windows[self.step - self.epoch_start :] for bound in window.bounds]
        return self.train.loader.batches(self.train.rows[order], bounds, epoch=self.epoch)

    @property
    def val_bounds(self) -> list[tuple[int, int]]:
        """The batches of the validation pictures, as positions in their order."""
        return batch_bounds(len(self.val.rows), self.batch_size) if self.val is not None else []

    def val_batches(self) -> Iterator[Batch]:
        """The validation pictures, in the table's order."""
        assert self.val is not None
        return self.val.loader.batches(self.val.rows, self.val_bounds)

    def monitor_for(self, key: str | None) -> Monitor:
        """The monitor named by a key of metrics.jsonl; None is the run's own.

        Raises:
            ConfigError: metrics.jsonl will have no such key.
        """
        if key is None:
            return self.monitor
        part, _, name = key.partition("/")
        known = {"loss": False} | {n: m.higher_is_better for n, m in self.sums.metrics.items()}
        if part not in ({"train"} if self.val is None else {"train", "val"}) or name not in known:
            raise ConfigError(
                f"there is no {key!r} to monitor",
                "this run has no validation pictures" if self.val is None and part == "val" else "",
                f"known: {', '.join(known)}, each after {'train/' if self.val is None else 'train/ or val/'}",
            )
        return Monitor(key, known[name])

    def save_checkpoint(self) -> None:
        """Asks for a checkpoint; it is saved once every callback has been told of this moment.

        So the states of all callbacks in it are of the same moment, whatever their order.
        """
        self.save_due = True

    def save_if_due(self) -> None:
        """Saves the checkpoint that was asked for."""
        if self.save_due:
            self.save_now()

    def save_now(self) -> None:
        """Saves everything that a resume needs, durably; nothing if this moment is saved already.

        A checkpoint of an epoch's last step is replaced when the epoch has been judged.
        """
        from clsfit.engine import checkpoint

        self.save_due = False
        if self.directory is not None and self._saved_at != (self.epoch, self.step):
            started = time.monotonic()
            checkpoint.save(self)
            self._saved_at = self.epoch, self.step
            now = time.monotonic()
            self.last_save = LastSave(self.step, now, now - started)
            self.reporter.say(f"checkpoint of step {self.step} saved in {now - started:.3f} s", detail=True)

    def save_model(self, name: str) -> None:
        """Writes ``best.safetensors`` or ``last.safetensors``: what evaluate and predict need."""
        from clsfit.engine import checkpoint

        if self.directory is not None:
            checkpoint.save_model(self, name)
