"""Saving: the run at intervals, model files at every epoch's end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.records import LastSave
    from clsfit.engine.run import Run

_REST = 60
"""A save by time waits for so many times what the last one took, model files included: 2 % of a run at most."""

_GROWTH = 6
"""The next save may take so many times what that of step 0 took: a fresh optimizer has no state yet, which is
twice the weights for Adam, model files come with the epochs' ends, and training goes on beside it."""


class Checkpoint:
    """Decides when the run is saved, and keeps the best and the last model.

    Each of the three intervals that is set counts; they may be changed when a run resumes. Apart from
    them, the core saves at step 0, at the end and on signals.

    Args:
        monitor: key of metrics.jsonl that makes a model the best, such as ``val/f1``; None: the run's.
        every_steps: optimizer steps, >= 1.
        every_epochs: epochs, >= 1.
        every_seconds: seconds from the end of the last save to the beginning of the next, at the first
            step after them; not before 60 times the duration of the last save, with that of the model files
            since the one before it (360 times that of step 0, which is smaller and has the machine to itself).
    """

    def __init__(
        self,
        monitor: str | None = None,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        every_seconds: float | None = 60.0,
    ) -> None:
        self.monitor = monitor
        self.every_steps, self.every_epochs, self.every_seconds = every_steps, every_epochs, every_seconds
        self._known: LastSave | None = None
        self._next_at = 0.0

    def check(self, run: Run) -> None:
        """Refuses a key that metrics.jsonl will not have."""
        run.monitor_for(self.monitor)

    @hookimpl
    def on_fit_start(self, run: Run) -> None:
        if self.monitor is not None:
            run.monitor = run.monitor_for(self.monitor)

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        if (self.every_steps is not None and run.step % self.every_steps == 0) or self._time_is_up(run):
            run.save_checkpoint()

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        if run.improved:
            run.save_models("best", "last")
        else:
            run.save_models("last")
        if self.every_epochs is not None and run.epoch % self.every_epochs == 0:
            run.save_checkpoint()

    def _time_is_up(self, run: Run) -> bool:
        last = run.last_save
        if self.every_seconds is None or last is None:
            return False
        if last is not self._known:  # it is asked at every step, and there are some microseconds for that
            rest = _REST * (1 if last.step else _GROWTH)
            self._known, self._next_at = last, last.finished_at + max(self.every_seconds, rest * last.duration)
        return time.monotonic() >= self._next_at
