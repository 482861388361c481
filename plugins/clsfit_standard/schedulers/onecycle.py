"""One cycle: the rate rises to a peak and falls to almost nothing, the momentum goes the other way."""

from __future__ import annotations

import math
from typing import Any

from clsfit_standard.schedulers.constant import Constant


class OneCycle(Constant):
    """One cycle (Smith and Topin 2018, https://arxiv.org/abs/1708.07120), in torch's two phases.

    The optimizer's rate is the peak. With a rise of w steps in a run of T, half a cosine leads from
    ``base / start_divisor`` in step 0 to ``base`` in step w - 1, and another one from there to
    ``base / start_divisor / end_divisor`` in step T - 1, the last. The warm-up is the rise; without
    one the rise is a share of the run. A w that is no whole number puts the peak between two steps.

    Momentum, or the first of ``betas``, goes from ``max_momentum`` to ``min_momentum`` at the peak and
    back, in the optimizer's place. A group of momentum 0 keeps none.

    Args:
        optimizer: its ``param_groups`` get their first rate and momentum here.
        total_steps: T, optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the rise in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
        rise: length of the rise as a share of the run, in (0, 1), where neither of them is given.
        start_divisor: base rate over first rate, >= 1.
        end_divisor: first rate over last rate, >= 1.
        cycle_momentum: whether momentum is cycled.
        max_momentum: momentum at both ends, in [0, 1).
        min_momentum: momentum at the peak, in [0, 1), <= max_momentum.
    """

    def __init__(
        self,
        optimizer: Any,
        total_steps: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int = 0,
        rise: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
        cycle_momentum: bool = True,
        max_momentum: float = 0.95,
        min_momentum: float = 0.85,
    ) -> None:
        self.last = total_steps - 1
        self.peak = max(0.0, (warmup_steps or warmup_epochs * steps_per_epoch or rise * total_steps) - 1)
        self.start_divisor, self.end_divisor = start_divisor, end_divisor
        self.max_momentum, self.min_momentum = max_momentum, min_momentum
        self.cycled = [_momentum_of(group) if cycle_momentum else None for group in optimizer.param_groups]
        super().__init__(optimizer, steps_per_epoch, warmup_epochs, warmup_steps)

    @property
    def graph_safe(self) -> bool:  # type: ignore[override]
        """Whether it changes learning rates only; momentum would be frozen in a CUDA graph."""
        return not any(self.cycled)

    def set_rates(self) -> None:
        """Writes rate and momentum of step ``self.steps`` into every group."""
        momentum = self._between(self.max_momentum, self.min_momentum, self.max_momentum)
        for group, base, name in zip(self.optimizer.param_groups, self.base, self.cycled, strict=True):
            group["lr"] = self.rate(base)
            if name == "betas":
                group[name] = (momentum, *group[name][1:])
            elif name is not None:
                group[name] = momentum

    def rate(self, base: float) -> float:
        start = base / self.start_divisor
        return self._between(start, base, start / self.end_divisor)

    def _between(self, start: float, peak: float, end: float) -> float:
        """What goes from ``start`` in step 0 by ``peak`` to ``end`` in the last step, now."""
        if self.steps < self.peak:
            return _eased(start, peak, self.steps / self.peak)
        if self.steps >= self.last:
            return end if self.last > self.peak else peak
        return _eased(peak, end, (self.steps - self.peak) / (self.last - self.peak))


def _momentum_of(group: dict[str, Any]) -> str | None:
    """The entry of a parameter group that holds its momentum, if it has any."""
    if "betas" in group:
        return "betas"
    return "momentum" if group.get("momentum") else None


def _eased(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
