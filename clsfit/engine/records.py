"""Small facts that a run keeps: what it is judged by, its best epoch, its last checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
    """The newest checkpoint.

    Attributes:
        step: finished optimizer steps.
        finished_at: when it was done (:func:`time.monotonic`).
        duration: seconds that it took, and that model files took since the checkpoint before it.
    """

    step: int
    finished_at: float
    duration: float
