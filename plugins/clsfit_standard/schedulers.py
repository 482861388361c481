"""Schedulers: the learning rate as a function of the optimizer step, for each parameter group.

Counts are optimizer steps, from 0. A linear warm-up of w steps (Goyal et al. 2017,
https://arxiv.org/abs/1706.02677) gives step t < w the rate ``base * (t + 1) / w``, where base is the
rate with which the group was built. State is the counter, and what :class:`Plateau` remembers; the
rule itself comes from the options.
"""

from __future__ import annotations

import math
from typing import Any

_NOT_GIVEN: Any = object()
"""Tells ``step()`` from ``step(None)``, an epoch whose value is undefined."""


class Constant:
    """The base rate, after a linear warm-up.

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
    """

    when: str | tuple[str, ...] = "step"

    def __init__(self, optimizer: Any, steps_per_epoch: int, warmup_epochs: float = 0.0, warmup_steps: int = 0) -> None:
        self.optimizer = optimizer
        self.base = [float(group["lr"]) for group in optimizer.param_groups]
        self.warmup = warmup_steps or round(warmup_epochs * steps_per_epoch)
        self.steps = 0
        self.set_rates()

    def step(self, value: float | None = None) -> None:
        """Counts one optimizer step and sets the rate of the next."""
        self.steps += 1
        self.set_rates()

    def rate(self, base: float) -> float:
        """The rate of step ``self.steps``, past the warm-up, in a group of base rate ``base``."""
        return base

    def set_rates(self) -> None:
        """Writes the rate of step ``self.steps`` into every group."""
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            warming = self.steps < self.warmup
            group["lr"] = base * (self.steps + 1) / self.warmup if warming else self.rate(base)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])


class Cosine(Constant):
    """Half a cosine from the base rate to ``min_lr`` (Loshchilov and Hutter 2017, without restarts).

    Past a warm-up of w steps, step t of T has the rate
    ``min_lr + (base - min_lr) * (1 + cos(pi * (t - w) / (T - w))) / 2``; ``min_lr`` is reached after
    the last step. https://arxiv.org/abs/1608.03983

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        total_steps: T, optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
        min_lr: >= 0; a group whose base rate is lower keeps its base rate.
    """

    def __init__(
        self,
        optimizer: Any,
        total_steps: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.total_steps, self.min_lr = total_steps, min_lr
        super().__init__(optimizer, steps_per_epoch, warmup_epochs, warmup_steps)

    def rate(self, base: float) -> float:
        progress = min(1.0, (self.steps - self.warmup) / max(1, self.total_steps - self.warmup))
        floor = min(self.min_lr, base)
        return floor + (base - floor) * (1 + math.cos(math.pi * progress)) / 2


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
