"""Ending a run that no longer improves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class EarlyStop:
    """Stops after exactly ``patience`` epochs in a row without improvement.

    A value improves when it is better than the best one by more than ``min_delta``; None and NaN
    never do. The metric says which direction is better.

    Args:
        monitor: key of metrics.jsonl, such as ``val/loss``; None: the run's monitor.
        patience: epochs, >= 1.
        min_delta: >= 0, in the monitor's unit.
    """

    def __init__(self, monitor: str | None = None, patience: int = 10, min_delta: float = 0.0) -> None:
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.best: float | None = None
        self.best_epoch = 0
        self.waited = 0

    def check(self, run: Run) -> None:
        """Refuses a key that metrics.jsonl will not have."""
        run.monitor_for(self.monitor)

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        # Looked up here, as another callback may choose the run's monitor in on_fit_start.
        monitor = run.monitor if self.monitor is None else run.monitor_for(self.monitor)
        value = run.scores.get(monitor.key)
        if monitor.better(value, self.best, self.min_delta):
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            run.stop(self._reason(monitor.key))

    def _reason(self, key: str) -> str:
        epochs = f"{self.waited} epoch{'' if self.waited == 1 else 's'}"
        if self.best is None:
            return f"early_stop: {key} has had no value for {epochs}"
        return f"early_stop: {key} has not improved for {epochs}; best {self.best:.6g} in epoch {self.best_epoch}"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.waited = state["best"], int(state["best_epoch"]), int(state["waited"])
