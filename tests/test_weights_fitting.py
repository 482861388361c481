"""Copying weights into a model: what of a file fits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from clsfit.errors import CheckpointError
from clsfit.weights import Loaded, load_into


def network(channels: int = 3, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, classes)
    )


def given(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(tensor.float()).to(tensor.dtype) for name, tensor in model.state_dict().items()}


def test_equal_shapes_are_copied() -> None:
    model = network()
    tensors = given(model) | {"1.num_batches_tracked": torch.tensor(7), "0.weight": torch.randn(4, 3, 3, 3).half()}
    loaded = load_into(model, tensors, 5)
    assert (loaded.copied, loaded.new) == (8, ())
    assert all(torch.equal(tensor, tensors[name].to(tensor.dtype)) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_counters_of_batches_may_be_missing() -> None:
    model = network()
    tensors = given(model)
    del tensors["1.num_batches_tracked"]
    assert load_into(model, tensors, 5).copied == 7


def test_names_may_have_one_prefix_more() -> None:
    """As of ``self.model`` in a trainer's module, whose checkpoints hold more than torch's wrappers' prefixes."""
    model = network()
    tensors = given(model)
    assert load_into(model, {f"model.{name}": tensor for name, tensor in tensors.items()}, 5).copied == 8
    assert torch.equal(model.state_dict()["0.weight"], tensors["0.weight"])
    with pytest.raises(CheckpointError, match=r"model\.0\.weight is not in the model"):
        load_into(network(), {f"model.{n}": t for n, t in tensors.items()} | {"other.weight": torch.ones(1)}, 5)


def test_of_tied_tensors_one_is_enough(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 5))
        model[1].weight = model[0].weight
        return model

    old, new = tied(), tied()
    safetensors.torch.save_model(old, str(tmp_path / "w.safetensors"))
    tensors = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert len(tensors) == 4, "of five names"
    assert load_into(new, tensors, 5) == Loaded(4, ())
    assert torch.equal(new[1].weight, old[0].weight)
    with pytest.raises(CheckpointError, match=r"1\.weight is missing"):
        load_into(nn.Sequential(*(nn.Linear(4, n) for n in (4, 4, 5))), tensors | {"1.bias": torch.ones(4)}, 5)


@pytest.mark.parametrize(("trained_with", "channels"), [(3, 1), (1, 3), (3, 4)])
def test_the_first_convolution_fits_other_channels(trained_with: int, channels: int) -> None:
    """A grey picture, repeated for each channel, gives what it gave."""
    old, new = network(trained_with), network(channels)
    assert load_into(new, old.state_dict(), 5).new == ()
    grey = torch.randn(2, 1, 8, 8)
    expected = old.eval()(grey.expand(-1, trained_with, -1, -1))
    torch.testing.assert_close(new.eval()(grey.expand(-1, channels, -1, -1)), expected)


def test_a_head_of_other_classes_stays_as_drawn() -> None:
    model, old = network(classes=5), network(classes=1000)
    drawn = {name: model.state_dict()[name].clone() for name in ("4.weight", "4.bias")}
    loaded = load_into(model, old.state_dict(), 5)
    assert (loaded.copied, loaded.new) == (6, ("4.weight", "4.bias"))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in drawn.items())
    assert torch.equal(model[0].weight, old[0].weight)


def test_a_head_of_as_many_other_classes_stays_as_drawn() -> None:
    model, old = network(), network()
    drawn = model[4].weight.clone()
    assert load_into(model, old.state_dict(), 5, other_classes=True).new == ("4.weight", "4.bias")
    assert torch.equal(model[4].weight, drawn)
    assert torch.equal(model[0].weight, old[0].weight)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("1.weight"), "in 1 tensors: 1.weight is missing"),
        (lambda t: t.update(extra=torch.ones(1)), "in 1 tensors: extra is not in the model"),
        (lambda t: t.update({"1.weight": torch.ones(9)}), r"1.weight is \[9\] instead of \[4\]"),
        (lambda t: t.update({"0.weight": torch.ones(4, 3, 5, 5)}), r"0.weight is \[4, 3, 5, 5\]"),
        (lambda t: t.update({"4.weight": torch.ones(5, 99)}), r"4.weight is \[5, 99\]"),
        (lambda t: t.update({"4.weight": torch.ones(7, 99)}), r"4.weight is \[7, 99\]"),
        (lambda t: t.update({"4.bias": torch.tensor(1.0)}), r"4.bias is \[\]"),
        (lambda t: [t.pop(name) for name in list(t)], "in 7 tensors: .*; and 4 more"),
    ],
)
def test_anything_else_is_refused_and_changes_nothing(change: Callable[[Any], Any], told: str) -> None:
    model = network()
    before, tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}, given(model)
    change(tensors)
    with pytest.raises(CheckpointError, match=told):
        load_into(model, tensors, 5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
