"""A run: what is being trained, on what, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.contracts import Metric, Optimizer, Sampler, Scheduler
from clsfit.engine.moments import CallbackHooks
from clsfit.engine.parts import Part, broken_order, order_of
from clsfit.engine.precision import Precision
from clsfit.engine.ranks import Alone, Ranks
from clsfit.engine.records import Best, LastSave, Monitor
from clsfit.engine.report import Reporter
from clsfit.engine.step import Eager, Mode
from clsfit.engine.sums import Sums
from clsfit.errors import ConfigError, DivergedError
from clsfit.pipeline.batches import Window, batch_bounds
from clsfit.pipeline.loader import Batch
from clsfit.storage.background import Background
from clsfit.storage.rundir import RunDirectory

_AS_PLANNED = nullcontext()


@dataclass(eq=False)
class Run:
    """The state of a training run, which callbacks receive.

    Attributes:
        windows: the micro-batches of each optimizer step of an epoch.
        header: what a model file says beside the weights.
        packages: top-level package of each component, and its distribution with version.
        weights: what ``--model.weights`` says that training starts from, ``default`` or a file; None: what is drawn.
        notes: what building it found worth saying, a line each.
        epoch: finished epochs; 0 during the first one.
        step: finished optimizer steps.
        epoch_start: the step at which the current epoch began.
        scores: the last epoch's row of metrics.jsonl.
        monitor: what ``best`` is judged by.
        best: the best epoch so far, None before the first.
        improved: whether the epoch that ended last is ``best``. Its number does not say so: after a return to a
            checkpoint, epochs are trained again.
        stop_reason: why the run ends early, or ended; empty while it goes on.
        lr_factor: what the scheduler's learning rates are multiplied by in every step.
        rollbacks: each return to a checkpoint: the ``step`` that failed (from 1), ``to_step``, and the
            ``lr_factor`` from there on.
        last_save: None until the first checkpoint is written, and while one is being written.
        interrupt: the signal that this process got and that ends the run; 0: none.
        leaving: as ``interrupt``, once every rank knows of it.
        save_due: whether a checkpoint was asked for.
        save_told: whether the next checkpoint is told on the screen, and not only in log.txt.
        saver: what writes beside the training.
        mode: how a step is executed.
        ranks: the processes that train the run, this one among them.
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
    weights: str | None = None
    notes: list[str] = field(default_factory=list)
    epoch: int = 0
    step: int = 0
    epoch_start: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    best: Best | None = None
    improved: bool = False
    stop_reason: str = ""
    last_save: LastSave | None = None
    sums: Sums = field(init=False)
    lr: float = field(init=False)
    seconds: float = 0.0
    train_seconds: float = 0.0
    interrupt: int = 0
    leaving: int = 0
    save_due: bool = False
    save_told: bool = False
    lr_factor: float = 1.0
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    saver: Background = field(default_factory=Background)
    mode: Mode = field(default_factory=Eager)
    ranks: Ranks = field(default_factory=Alone)

    def __post_init__(self) -> None:
        self.sums = self.new_sums()
        self.lr = self.optimizer.param_groups[0]["lr"]
        self._saved_at: tuple[int, int] | None = None
        self._models_at: dict[str, tuple[int, int]] = {}

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

    def rates(self) -> AbstractContextManager[None]:
        """The learning rates of a step: the scheduler's, times :attr:`lr_factor`."""
        return _AS_PLANNED if self.lr_factor == 1.0 else self._lowered()

    @contextmanager
    def _lowered(self) -> Iterator[None]:
        planned = [group["lr"] for group in self.optimizer.param_groups]
        try:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"] * self.lr_factor
            yield
        finally:
            for group, lr in zip(self.optimizer.param_groups, planned, strict=True):
                group["lr"] = lr

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
        bounds = [bound for window in self.windows[self.step - self.epoch_start :] for bound in window.bounds]
        return self.train.loader.batches(self._epoch_rows(), bounds, epoch=self.epoch, share=self.ranks.share)

    def rows_of(self, step: int) -> npt.NDArray[np.int64]:
        """[M] int64: the table's rows of optimizer step ``step``, which is of the current epoch; of all ranks."""
        bounds = self.windows[step - self.epoch_start].bounds
        return self._epoch_rows()[bounds[0][0] : bounds[-1][1]]

    def _epoch_rows(self) -> npt.NDArray[np.int64]:
        order = order_of(self.sampler, self.epoch, self.train.targets)
        planned = self.windows[-1].bounds[-1][1]
        if len(order) != planned:
            raise broken_order(self.sampler, f"{len(order)} positions in epoch {self.epoch}, {planned} in epoch 0")
        return self.train.rows[order]

    @property
    def val_bounds(self) -> list[tuple[int, int]]:
        """The batches of the validation pictures, as positions in their order."""
        return batch_bounds(len(self.val.rows), self.batch_size) if self.val is not None else []

    def val_batches(self) -> Iterator[Batch]:
        """The validation pictures that are this rank's, in the table's order."""
        assert self.val is not None
        return self.val.loader.batches(self.val.rows, self.ranks.turns(self.val_bounds))

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
        """Saves everything that a resume needs; nothing if this moment is saved already.

        What is saved is the run as it is now; it is written durably while training goes on, and done
        when ``saver.flush()`` returns. A checkpoint of an epoch's last step is replaced when the epoch has
        been judged.
        """
        from clsfit.engine import checkpoint

        self.save_due = False
        if self._saved_at != (self.epoch, self.step):
            self.last_save = None
            checkpoint.save(self)
            self._saved_at = self.epoch, self.step

    @property
    def judged(self) -> torch.nn.Module:
        """What validation judges and the model files hold: the model, or the average of it that a callback keeps.

        Raises:
            ConfigError: two callbacks keep one.
        """
        found = {name: getattr(callback, "averaged", None) for name, callback in self.hooks.callbacks.items()}
        averaged = {name: model for name, model in found.items() if model is not None}
        if len(averaged) > 1:
            raise ConfigError(f"only one callback may average the model, not {' and '.join(averaged)}", "--callback")
        return next(iter(averaged.values()), self.model)

    def save_models(self, *names: str) -> None:
        """Writes the model files ``names`` (``best``, ``last``): what evaluate and predict need.

        They hold this moment's weights, and are written while training goes on; see :meth:`save_now`.
        """
        from clsfit.engine import modelfiles

        now = self.epoch, self.step
        wanted = tuple(name for name in names if self._models_at.get(name) != now)
        if self.directory is not None and wanted:
            modelfiles.save_models(self, wanted)
            self._models_at |= dict.fromkeys(wanted, now)

    def roll_back(self, error: DivergedError, factor: float) -> None:
        """Returns to the newest good checkpoint, logs included, with learning rates times ``factor``.

        It is saved anew with the lower rate, so that a resume knows of it. What was the best stays the
        best, as its model file does.

        Raises:
            CheckpointError: no checkpoint can be read.
        """
        from clsfit.engine import checkpoint, divergence

        best, entry = self.best, {"step": error.step, "lr_factor": self.lr_factor * factor}
        rollbacks = self.rollbacks
        self.optimizer.zero_grad()  # those of the failed step would be added to
        checkpoint.go_back(self)
        self.best, self.lr_factor = best, entry["lr_factor"]
        self.rollbacks = [*rollbacks, entry | {"to_step": self.step}]
        self._saved_at, self._models_at = None, {}
        divergence.note(self, error)  # the log was cut back
        self.say(f"step {error.step} diverged: back to step {self.step}, learning rate times {self.lr_factor:g}")
        self.save_now()
        self.saver.flush()
