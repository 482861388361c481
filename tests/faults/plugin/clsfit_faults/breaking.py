"""Components that break on one rank, as the environment says.

``BREAK`` is four words: what happens, the rank, where, and at which call there, from 1; ``kill 1 training 5``.
The file that ``BREAK_MARK`` names is made just before.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from clsfit_standard.metrics.counts import Accuracy
from torch import nn

from clsfit.data.table import SampleTable

ACTIONS = ("raise", "exit", "kill", "stop", "nan")
_calls: Counter[str] = Counter()


def breaks(place: str) -> bool:
    """Counts a call at ``place``, and breaks there if that was asked for; True: the caller is to return no number."""
    _calls[place] += 1
    action, rank, where, call = os.environ.get("BREAK", "none 0 nowhere 0").split()
    if (os.environ.get("RANK", "0"), place, _calls[place]) != (rank, where, int(call)):
        return False
    assert action in ACTIONS, action
    Path(os.environ["BREAK_MARK"]).touch()
    match action:
        case "raise":
            raise RuntimeError(f"broken in {place}, as the test said")
        case "exit":
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
    return action == "nan"


class BreakingLoss(nn.Module):
    """Cross-entropy that breaks in ``training`` or in ``validation``."""

    soft_targets = True

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        values = nn.functional.cross_entropy(logits, targets, reduction="none")
        return values * float("nan") if breaks("training" if self.training else "validation") else values


class BreakingMetric(Accuracy):
    """Accuracy that breaks in ``compute``, which every rank calls on the counts of all."""

    def compute(self) -> float | None:
        breaks("compute")
        return super().compute()


class BreakingPictures:
    """64 pictures of 8x8 in two classes; breaks in ``data``, when their table is read."""

    def table(self) -> SampleTable:
        breaks("data")
        return SampleTable(tuple(f"{row:02}" for row in range(64)), ("dark", "light"), np.arange(64) % 2)

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        return np.random.default_rng(row).integers(0, 128, (8, 8), dtype=np.uint8) + np.uint8(row % 2 * 100)
