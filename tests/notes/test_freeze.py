"""The notes freeze a backbone by ``requires_grad = False`` alone. Law: nothing of what is frozen moves.

Their batch normalisation goes on to move its statistics, and an optimizer that was given a gradient of
zeros for the frozen weights (as ``zero_grad`` left it before torch 2.0) decays them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from clsfit_standard.callbacks.freeze import Freeze
from torch import nn
from torch.nn import functional as F

from clsfit.engine.modes import training_mode


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, set_to_none: bool) -> None:
    for _ in range(3):
        loss = F.cross_entropy(model(torch.randn(6, 1, 8, 8)), torch.arange(6) % 3)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)


def assert_nothing_frozen_moves(train: Callable[[nn.Sequential], None]) -> None:
    """The law: after training, all but the last layer is as before, to the bit."""
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"4.weight", "4.bias"}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def notes(model: nn.Sequential) -> None:
    """As in the notes: ``requires_grad`` of each frozen layer, then the usual loop."""
    optimizer = sgd(model)
    for layer in model[:4]:
        for parameter in layer.parameters():
            parameter.requires_grad = False
    model.train()
    steps(model, optimizer, set_to_none=True)


def notes_later(model: nn.Sequential) -> None:
    """The same without batch normalisation in training, begun after an epoch with gradients set to zero."""
    optimizer = sgd(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for layer in model[:4]:
        for parameter in layer.parameters():
            parameter.requires_grad = False
    model.train()
    model[1].eval()
    steps(model, optimizer, set_to_none=False)


def ours(model: nn.Sequential) -> None:
    """The callback, and the core's training mode; the optimizer holds all parameters."""
    optimizer = sgd(model)

    class Run:
        epoch, epochs = 0, 1

        def __init__(self) -> None:
            self.model = model

        def say(self, line: str) -> None:
            assert "frozen" in line

    run: Any = Run()
    Freeze().on_fit_start(run=run)
    training_mode(model)
    steps(model, optimizer, set_to_none=True)


def test_ours_holds() -> None:
    assert_nothing_frozen_moves(ours)


@pytest.mark.parametrize("theirs", [notes, notes_later])
def test_the_notes_do_not(theirs: Callable[[nn.Sequential], None]) -> None:
    with pytest.raises(AssertionError):
        assert_nothing_frozen_moves(theirs)
