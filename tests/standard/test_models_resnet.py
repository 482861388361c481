"""ResNets without torchvision: its numbers to the bit, the stem, any number of channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from clsfit_standard.models import resnet
from clsfit_standard.models import torchvision as factories
from clsfit_standard.offers.models import COMPONENTS, has_stem
from torch import nn
from torch.nn import functional as F

DEPTHS = ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"]
"""Every kind of block; the others of the family differ in numbers."""


def drawn(build: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return build(**options)


def test_the_family_is_offered_from_here() -> None:
    offered = {offer.name: offer.target for offer in COMPONENTS if offer.target.startswith(resnet.__name__)}
    assert offered == {name: f"{resnet.__name__}:{name}" for name in resnet.LAYOUTS}
    assert {offer.name for offer in COMPONENTS if offer.name in factories.TORCHVISION and has_stem(offer.name)} == set(
        resnet.LAYOUTS
    )
    assert not hasattr(resnet, "resnet19")


@pytest.mark.parametrize("name", resnet.LAYOUTS)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        mine = getattr(resnet, name)(num_classes=7, in_channels=3)
        theirs = torchvision.models.get_model(name, weights=None, num_classes=7)
    assert [(n, t.shape, t.dtype) for n, t in mine.state_dict().items()] == [
        (n, t.shape, t.dtype) for n, t in theirs.state_dict().items()
    ]
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize("name", DEPTHS)
def test_weights_logits_and_gradients_are_torchvisions_to_the_bit(name: str) -> None:
    mine = drawn(getattr(resnet, name), num_classes=7, in_channels=3)
    theirs = drawn(torchvision.models.get_model_builder(name), num_classes=7)
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in mine.state_dict().items())
    images = torch.randn(3, 3, 40, 33)
    for training in (True, False):
        logits = [model.train(training)(images) for model in (mine, theirs)]
        assert torch.equal(*logits)
        for own in logits:
            F.cross_entropy(own, torch.arange(3)).backward()
        for parameter, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(parameter.grad, other.grad)
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in mine.state_dict().items()), "statistics"


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_another_first_convolution_is_drawn_as_in_torchvisions_place(stem: Any, channels: int) -> None:
    def small(conv: nn.Conv2d) -> nn.Conv2d:
        return nn.Conv2d(channels, conv.out_channels, kernel_size=3, stride=1, padding=1, bias=False)

    def wide(conv: nn.Conv2d) -> nn.Conv2d:
        return factories.convolution_like(conv, channels)

    change = small if stem == "small" else None if channels == 3 else wide
    mine = drawn(resnet.resnet18, num_classes=7, in_channels=channels, stem=stem)
    theirs = drawn(factories.resnet18.build, num_classes=7, input_size=(32, 32), change=change)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in mine.state_dict().items())
    deviation = (2 / (64 * (49 if stem == "imagenet" else 9))) ** 0.5
    assert mine.conv1.weight.std().item() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 16), ("small", 64)])
def test_the_small_stem_keeps_the_size(stem: Any, side: int) -> None:
    model: Any = resnet.resnet18(num_classes=7, in_channels=1, stem=stem)
    maps = []
    model.layer1.register_forward_pre_hook(lambda module, inputs: maps.append(inputs[0]))
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    assert maps[0].shape == (2, 64, side, side)
    assert model.eval()(torch.zeros(2, 1, 1, 1)).shape == (2, 7), "the smallest picture"


def test_pretrained_weights_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = resnet.resnet50.pretrained.preprocessing()
    assert (wanted.input_size, wanted.mean, wanted.std) == ((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    asked: list[str] = []
    monkeypatch.setattr(factories, "download", lambda url: asked.append(url) or {"fc.bias": torch.ones(1000)})
    assert list(resnet.resnet50.pretrained.tensors()) == ["fc.bias"]
    assert asked == [torchvision.models.ResNet50_Weights.DEFAULT.url]
