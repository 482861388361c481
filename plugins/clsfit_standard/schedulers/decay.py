"""Rates that go from the base rate to ``min_lr`` over the rest of the run."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from clsfit_standard.schedulers.constant import Constant


class _Decay(Constant):
    """From the base rate down to ``min_lr``, which is reached after the last step."""

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
        return floor + (base - floor) * self.left(progress)

    @abstractmethod
    def left(self, progress: float) -> float:
        """The share of the way that is left, from 1 to 0, as ``progress`` goes from 0 to 1."""


class Cosine(_Decay):
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

    def left(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


class Linear(_Decay):
    """A straight line from the base rate to ``min_lr``.

    Past a warm-up of w steps, step t of T has the rate
    ``min_lr + (base - min_lr) * (1 - (t - w) / (T - w))``; ``min_lr`` is reached after the last step.

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        total_steps: T, optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
        min_lr: >= 0; a group whose base rate is lower keeps its base rate.
    """

    def left(self, progress: float) -> float:
        return 1 - progress
