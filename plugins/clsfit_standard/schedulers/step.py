"""A lower rate at fixed distances."""

from __future__ import annotations

import math
from typing import Any

from clsfit_standard.schedulers.constant import Constant


class Step(Constant):
    """Multiplies the rate by ``factor`` at fixed distances, counted from the run's first step.

    With d steps from one drop to the next, the k-th drop comes at the step nearest to ``k * d``, also
    where d is no whole number: half an epoch of 5 steps gives drops at steps 2, 5, 7, 10. Without a
    distance the rate drops at thirds of the run, such as 30 and 60 of 90 epochs. Distances begin at
    step 0, whatever the warm-up.

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
        every_epochs: distance in epochs, >= 0, at least one step.
        every_steps: the same in optimizer steps, >= 0; one of the two at most. 0 for both: a third of the run.
        factor: in (0, 1).
    """

    def __init__(
        self,
        optimizer: Any,
        total_steps: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int = 0,
        every_epochs: float = 0.0,
        every_steps: int = 0,
        factor: float = 0.1,
    ) -> None:
        self.distance = max(1.0, every_steps or every_epochs * steps_per_epoch or total_steps / 3)
        self.factor = factor
        super().__init__(optimizer, steps_per_epoch, warmup_epochs, warmup_steps)

    def rate(self, base: float) -> float:
        # Half a step more is the nearest step. The slack is for distances such as 1.1 epochs of 25 steps,
        # whose half step the product misses by its last digit.
        return base * self.factor ** math.floor((self.steps + 0.5) / self.distance + 1e-9)
