"""Our own models: shapes for many inputs, gradients everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from clsfit_standard.models.mlp import MLP
from clsfit_standard.models.small_cnn import SmallCNN
from torch import nn
from torch.nn import functional as F


def assert_trains(model: nn.Module, channels: int, size: tuple[int, int], classes: int) -> None:
    """Logits of the right shape, and a gradient in every parameter."""
    logits = model(torch.randn(3, channels, *size))
    assert logits.shape == (3, classes)
    F.cross_entropy(logits, torch.arange(3) % classes).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (7, 7), (8, 8), (28, 28), (32, 32), (33, 20), (64, 16)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_cnn(size: tuple[int, int], channels: int) -> None:
    model = SmallCNN(num_classes=5, in_channels=channels, input_size=size, width=4)
    assert_trains(model, channels, size, 5)
    pools = sum(isinstance(layer, nn.MaxPool2d) for layer in model.features)
    assert 4 <= min(size) // 2**pools < 8
    assert not isinstance(model.features[-1], nn.MaxPool2d)


@pytest.mark.parametrize(("side", "blocks"), [(8, 3), (32, 4), (224, 6)])
def test_small_cnn_depth(side: int, blocks: int) -> None:
    model = SmallCNN(10, 1, (side, side), width=8)
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == ([8, 16] + [32] * 10)[:blocks]


def test_small_cnn_options() -> None:
    model = SmallCNN(10, 1, (8, 8), width=6, dropout=0.5)
    assert model.head.in_features == 24
    assert model.dropout.p == 0.5


@pytest.mark.parametrize("hidden", [(), (7,), (9, 8, 7), [5]])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_mlp(hidden: Any, dropout: float) -> None:
    model = MLP(num_classes=4, in_channels=3, input_size=(5, 6), hidden=hidden, dropout=dropout)
    assert_trains(model, 3, (5, 6), 4)
    linear = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [90, *hidden]
    assert sum(isinstance(layer, nn.Dropout) for layer in model.layers) == (len(hidden) if dropout else 0)
