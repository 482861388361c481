"""A lower rate when the monitored value has stopped improving."""

from __future__ import annotations

import math
from typing import Any

from clsfit_standard.schedulers.constant import Constant

_NOT_GIVEN: Any = object()
"""Tells ``step()`` from ``step(None)``, an epoch whose value is undefined."""


class Plateau(Constant):
    """Multiplies the rate by ``factor`` when the monitored value has stopped improving.

    After exactly ``patience`` epochs in a row without improvement the rate is lowered, and the count
    begins again. A value improves when it is better than the best one by more than ``min_delta``;
    None and NaN never do. During the warm-up no epoch counts against it.

    ``step()`` counts an optimizer step (for the warm-up), ``step(value)`` judges an epoch.

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
        factor: in (0, 1).
        patience: epochs, >= 1 (torch's ReduceLROnPlateau waits for one more).
        min_delta: >= 0, in the monitor's unit.
        monitor: a key of metrics.jsonl, or None for the run's monitor.
        min_lr: >= 0; a group whose base rate is lower keeps its base rate.
    """

    when = ("step", "metric")

    def __init__(
        self,
        optimizer: Any,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int = 0,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str | None = None,
        min_lr: float = 0.0,
    ) -> None:
        self.factor, self.patience, self.min_delta, self.min_lr = factor, patience, min_delta, min_lr
        self.monitor = monitor
        self.higher_is_better = False  # the core sets the monitor's direction
        self.scale = 1.0
        self.best: float | None = None
        self.waited = 0
        super().__init__(optimizer, steps_per_epoch, warmup_epochs, warmup_steps)

    def step(self, value: float | None = _NOT_GIVEN) -> None:
        """``step()`` counts an optimizer step, ``step(value)`` judges a validation's value."""
        if value is _NOT_GIVEN:
            self.steps += 1
        else:
            self._judge(value)
        self.set_rates()

    def rate(self, base: float) -> float:
        return max(base * self.scale, min(self.min_lr, base))

    def _judge(self, value: float | None) -> None:
        if value is not None and not math.isnan(value) and self._improves(value):
            self.best, self.waited = value, 0
        elif self.steps >= self.warmup:
            self.waited += 1
        if self.waited >= self.patience:
            self.scale *= self.factor
            self.waited = 0

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return True
        gain = value - self.best if self.higher_is_better else self.best - value
        return gain > self.min_delta

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scale, self.best, self.waited = float(state["scale"]), state["best"], int(state["waited"])
