"""airbench: the paper's network, beside one written down flat; and its recipe, which learns."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from clsfit_standard.models.airbench import Airbench, BiasNorm
from clsfit_standard.offers.recipes import COMPONENTS
from PIL import Image
from torch import Tensor, nn

from clsfit.build import parameter_groups
from clsfit.config import resolve
from clsfit.errors import ConfigError
from clsfit.registry import Plugins
from clsfit.testing import check_model


def net(**options: Any) -> Any:
    torch.default_generator.manual_seed(0)
    shape: dict[str, Any] = {"num_classes": 10, "in_channels": 3, "input_size": (32, 32)}
    return Airbench(**(shape | options))


def flat(model: Any) -> nn.Sequential:
    """The network of 32x32 pictures as a list of torch's layers, with the same tensors, in evaluation."""
    layers: list[nn.Module] = [model.whitening, nn.GELU()]
    for block in model.blocks:
        for conv, norm, pools in ((block.conv1, block.norm1, True), (block.conv2, block.norm2, False)):
            own = nn.BatchNorm2d(norm.num_features)
            own.load_state_dict(norm.state_dict())
            own.bias.data *= 8  # the root of 64
            layers += [conv, *([nn.MaxPool2d(2)] if pools else []), own, nn.GELU()]
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), model.head).eval()


def test_it_is_the_papers_network() -> None:
    model, images = net(), torch.randn(4, 3, 32, 32)
    model(images)  # moves the statistics away from 0 and 1
    with torch.no_grad():
        for block in model.blocks:
            block.norm1.bias.normal_()
            block.norm2.bias.normal_()
    model.eval()
    torch.testing.assert_close(model(images), flat(model)(images) / 9)


def test_sizes() -> None:
    """1.97 million parameters, as the paper says."""
    model = net()
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 1.97
    assert [tuple(block.conv2.weight.shape[:2]) for block in model.blocks] == [(64, 64), (256, 256), (256, 256)]
    assert tuple(model.whitening.weight.shape) == (24, 3, 2, 2)
    narrow = net(widths=(4, 6, 2), in_channels=1, num_classes=5)
    assert narrow(torch.randn(2, 1, 32, 32)).shape == (2, 5)
    assert narrow.whitening.out_channels == 8


def test_what_is_trained() -> None:
    """Everything but the whitening weights and the scales of the normalisations."""
    model = net()
    held = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    norms = {f"blocks.{block}.norm{n}.weight" for block in range(3) for n in (1, 2)}
    assert held == norms | {"whitening.weight"}
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == held
    decayed, free = parameter_groups(model)
    assert {parameter.ndim for parameter in decayed["params"]} == {2, 4}
    assert len(free["params"]) == 7  # the biases


@pytest.mark.parametrize(("before", "after"), [(24, 64), (64, 64), (8, 3)])
def test_convolutions_begin_as_copies(before: int, after: int) -> None:
    from clsfit_standard.models.airbench import _convolution

    conv, maps = _convolution(before, after), torch.randn(2, before, 5, 5)
    copied = min(before, after)
    outputs = conv(maps)
    torch.testing.assert_close(outputs[:, :copied], maps[:, :copied])
    assert all(outputs[:, place].std() > 0 for place in range(after))


@pytest.mark.parametrize("momentum", [0.0, 0.85])
def test_a_bias_rate_is_a_learning_rate(momentum: float) -> None:
    """One SGD for all with the rate in the layer, or plain layers and a group of its own: the same outputs."""
    maps, wanted = torch.randn(6, 3, 4, 4, dtype=torch.float64), torch.randn(6, 3, 4, 4, dtype=torch.float64)
    ours = BiasNorm(3, bias_rate=64.0).double()
    plain = nn.BatchNorm2d(3, momentum=0.4).double()
    rule: dict[str, Any] = {"momentum": momentum, "nesterov": momentum > 0}
    one = torch.optim.SGD([ours.bias], lr=0.001, **rule)
    other = torch.optim.SGD([plain.bias], lr=0.064, **rule)
    losses = []
    for _ in range(5):
        pair = []
        for layer, optimizer in ((ours, one), (plain, other)):
            loss = (layer(maps) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pair.append(loss.item())
        assert pair[0] == pytest.approx(pair[1], rel=1e-12)
        losses.append(pair[0])
    assert losses[-1] < losses[0]
    torch.testing.assert_close(ours.running_var, plain.running_var)
    torch.testing.assert_close(ours.bias * 8, plain.bias)


def test_statistics_move_by_four_tenths() -> None:
    norm, maps = BiasNorm(2, 1.0), torch.randn(5, 2, 3, 3) + 10
    norm(maps)
    torch.testing.assert_close(norm.running_mean, 0.4 * maps.mean((0, 2, 3)))
    norm.eval()(maps)
    torch.testing.assert_close(norm.running_mean, 0.4 * maps.mean((0, 2, 3)))


@pytest.mark.parametrize("size", [(9, 9), (12, 40), (32, 32), (33, 20)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_pictures(size: tuple[int, int], channels: int) -> None:
    check_model(Airbench, in_channels=channels, input_size=size, widths=(6, 8, 8))


@pytest.mark.parametrize("size", [(8, 8), (32, 8)])
def test_pictures_that_are_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"{size[0]}x{size[1]}") as refused:
        net(input_size=size)
    assert "--input-size" in refused.value.where


def test_memory_formats_agree() -> None:
    model, images = net().eval(), torch.randn(3, 3, 32, 32)
    expected: Tensor = model(images)
    model.to(memory_format=torch.channels_last)
    got = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def recipe() -> dict[str, Any]:
    package, _, path = next(offer for offer in COMPONENTS if offer.name == "cifar-speed").target.partition(":")
    tree: dict[str, Any] = yaml.safe_load(resources.files(package).joinpath(path).read_text(encoding="utf-8"))
    return tree


def test_the_recipes_rates_are_the_papers() -> None:
    optimizer, scheduler = recipe()["optimizer"], recipe()["scheduler"]
    momentum = optimizer["momentum"]
    constant = 1 + 1 / (1 - momentum)
    assert optimizer["nesterov"] is True
    assert optimizer["lr"] * constant == pytest.approx(11.5, rel=1e-3)
    assert optimizer["lr"] * optimizer["weight_decay"] * constant == pytest.approx(0.0153, rel=1e-3)
    assert scheduler["start_divisor"] == 1 / 0.2
    assert scheduler["start_divisor"] * scheduler["end_divisor"] == pytest.approx(1 / 0.07, rel=1e-3)
    assert recipe()["loss"]["smoothing"] == 0.2


def stripes(folder: Path) -> Path:
    """Three classes of 60 pictures 32x32, which neither a shift nor a flip makes another: widths of stripes."""
    random = np.random.default_rng(0)
    for width in (2, 4, 8):
        (folder / f"wide-{width}").mkdir(parents=True)
        for number in range(60):
            shift = int(random.integers(width * 2))
            pattern = (np.arange(shift, shift + 32) // width % 2)[:, None] * 100
            pixels = (pattern + random.integers(0, 100, (32, 32))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"wide-{width}" / f"{number:02}.png")
    return folder


def test_the_recipe_holds_together(clsfit: Any, tmp_path: Path) -> None:
    """It names nothing unknown, trains on all pictures, and learns; with narrow blocks and small batches."""
    config = resolve(Plugins.discover(), recipe="cifar-speed", environ={}, options={"data": "digits"})
    assert [choice.name for choice in config.all("callback")] == ["checkpoint", "whiten", "ema"]
    assert [choice.name for choice in config.all("metric")] == ["accuracy"]
    data = stripes(tmp_path / "stripes")
    small = ["--batch-size", 32, "--optimizer.lr", 0.1, "--epochs", 8, "--model.widths", "8,16,16"]
    clsfit("train", data, "--recipe", "cifar-speed", *small, "--mean", 0.5, "--std", 0.25, "-o", "run")
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 8 * 6  # all 180 pictures are trained on
    assert json.loads(clsfit("evaluate", "run", data, "--json").stdout)["accuracy"] > 0.9


def test_a_run_of_the_recipe_goes_on_where_the_data_are_split(clsfit: Any, drawn: Any, tmp_path: Path) -> None:
    """Data with validation pictures of their own leave the recipe's share of them without effect; nobody wished it."""
    for split in ("train", "val"):
        drawn(tmp_path / "data" / split, {"a": 12, "b": 12}, size=12)
    small = ["--batch-size", 8, "--epochs", 1, "--model.widths", "2,2,2", "--mean", 0.5, "--std", 0.25]
    words = ["train", "data", "--recipe", "cifar-speed", *small, "-o", "run"]
    clsfit(*words)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    (tmp_path / "run" / "summary.json").unlink()
    clsfit(*words, "--resume")
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before
