"""What the plugin offers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import nn

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.run import Run

ENDS: list[tuple[float, int]] = []
"""When each epoch ended (``time.perf_counter``), and how many pictures it had."""


def three_convolutions(num_classes: int, in_channels: int) -> nn.Module:
    """The network of ``peers/shared.py``."""
    layers: list[nn.Module] = []
    for before, after in ((in_channels, 16), (16, 32), (32, 64)):
        convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


class TorchSGD(torch.optim.SGD):
    """torch.optim's, as a stranger's plugin would offer it."""


class Listener:
    """A callback that does next to nothing, at every step."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def on_gradients(self, run: Run) -> None:
        self.calls += 1

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        self.calls += 1

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        self.calls += 1


def note(run: Run, pictures: int) -> None:
    """An epoch has ended, and the device has done its work."""
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    ENDS.append((time.perf_counter(), pictures))


class Clock:
    """Notes when epochs end."""

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        note(run, len(run.train.rows))


class Drain:
    """Takes every batch of the first epochs before the first step, and ends the run.

    Args:
        passes: epochs.
    """

    def __init__(self, passes: int = 3) -> None:
        self.passes = passes

    @hookimpl
    def on_fit_start(self, run: Run) -> None:
        for run.epoch in range(self.passes):
            note(run, sum(len(batch.images) for batch in run.epoch_batches()))
        run.epoch = 0
        run.stop("measured")
