"""Saving: the run at intervals, model files at every epoch's end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_REST = 50
"""A save by time waits for so many times what the last one took, model files included: 2 % of a run at most."""


class Checkpoint:
    """Decides when the run is saved, and keeps the best and the last model.

    Each of the three intervals that is set counts; they may be changed when a run resumes. Apart from
    them, the core saves at step 0, at the end and on signals.

    Args:
        monitor: key of metrics.jsonl that makes a model the best, such as ``val/f1``; None: the run's.
        every_steps: optimizer steps, >= 1.
        every_epochs: epochs, >= 1.
        every_seconds: seconds from the end of the last save to the beginning of the next, at the first
            step after them; not before 50 times the duration of the last save, with that of the model files
            since the one before it.
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
        if self.every_seconds is None or run.last_save is None:
            return False
        wait = max(self.every_seconds, _REST * run.last_save.duration)
        return time.monotonic() - run.last_save.finished_at >= wait
