"""torch's own optimizers, nets in two memory formats, and a loss that can stall inside a C call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def sgd_fused(params: Any, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr, momentum=0.9, fused=True)


def sgd_foreach(params: Any, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr, momentum=0.9, foreach=True)


def adamw_fused(params: Any, lr: float = 0.005) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr, fused=True)


def adamw_foreach(params: Any, lr: float = 0.005) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr, foreach=True)


class ChannelsLast(nn.Sequential):
    """Its weights and its input lie in memory as NHWC: files keep no strides, and a fused kernel needs them."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Dropout2d(0.2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training or self[3].weight.is_contiguous(memory_format=torch.channels_last)
        return super().forward(images)


class Contiguous(nn.Module):
    """It cannot be computed in channels_last, as old models cannot that ``view`` what a convolution returns."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Dropout2d(0.2),
        )
        self.head = nn.Linear(16 * input_size[0] * input_size[1], num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training or self.convolutions[3].weight.is_contiguous()
        return self.head(self.convolutions(images).view(len(images), -1))


class Stalling(nn.Module):
    """Cross-entropy. Where ``STALL`` names a file that is not there, its 20th call makes the file and stalls:
    in one call of LAPACK's, which no signal interrupts, for a singular value decomposition of
    ``STALL_SIZE`` rows (6,000 by default, which take minutes)."""

    soft_targets = True

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        mark = os.environ.get("STALL")
        if mark and self.calls == 20 and not Path(mark).exists():
            size = int(os.environ.get("STALL_SIZE", "6000"))
            matrix = torch.rand(size, size)
            Path(mark).touch()
            torch.linalg.svd(matrix)
        return nn.functional.cross_entropy(logits, targets, reduction="none")
