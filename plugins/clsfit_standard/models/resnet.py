"""ResNet, ResNeXt and Wide ResNet: torchvision's networks, without torchvision.

Names of tensors, drawn weights and logits are torchvision's to the bit, so that its pretrained weights fit and
a seed means the same. But importing torchvision takes a second, since it imports torch's compiler: longer than a
ResNet needs for a thousand small pictures. Only pretrained weights are asked for there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple

from torch import Tensor, nn

from clsfit.contracts import Preprocessing
from clsfit_standard.offers.models import TORCHVISION

Stem = Literal["imagenet", "small"]


class Layout(NamedTuple):
    """What one network of the family has.

    Attributes:
        blocks: in each of the four stages.
        bottleneck: whether a block is 1x1, 3x3, 1x1 convolutions, or two of 3x3.
        groups: of the 3x3 convolutions.
        width: channels of a group of the first stage's 3x3 convolutions.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    width: int = 64


LAYOUTS = {
    "resnet18": Layout((2, 2, 2, 2), bottleneck=False),
    "resnet34": Layout((3, 4, 6, 3), bottleneck=False),
    "resnet50": Layout((3, 4, 6, 3)),
    "resnet101": Layout((3, 4, 23, 3)),
    "resnet152": Layout((3, 8, 36, 3)),
    "resnext50_32x4d": Layout((3, 4, 6, 3), groups=32, width=4),
    "resnext101_32x8d": Layout((3, 4, 23, 3), groups=32, width=8),
    "resnext101_64x4d": Layout((3, 4, 23, 3), groups=64, width=4),
    "wide_resnet50_2": Layout((3, 4, 6, 3), width=128),
    "wide_resnet101_2": Layout((3, 4, 23, 3), width=128),
}


class Block(nn.Module):
    """Convolutions, each normalised, whose result is added to what goes in.

    The stride is that of the (first) 3x3 convolution. Where the maps' size or channels change, a 1x1
    convolution fits what goes in.
    """

    def __init__(self, before: int, channels: int, stride: int, layout: Layout) -> None:
        super().__init__()
        after = 4 * channels if layout.bottleneck else channels
        shortcut = None
        if stride != 1 or before != after:
            shortcut = nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm2d(after))
        if layout.bottleneck:
            inner = channels * layout.width // 64 * layout.groups
            layers = [
                _convolution(before, inner, 1),
                _convolution(inner, inner, 3, stride, layout.groups),
                _convolution(inner, after, 1),
            ]
        else:
            layers = [_convolution(before, after, 3, stride), _convolution(after, after, 3)]
        for place, layer in enumerate(layers, start=1):
            self.add_module(f"conv{place}", layer)
            self.add_module(f"bn{place}", nn.BatchNorm2d(layer.out_channels))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut
        self._bottleneck = layout.bottleneck

    def forward(self, maps: Tensor) -> Tensor:
        """[B, after, H / stride, W / stride] from ``maps`` [B, before, H, W]."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        if self._bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        out += maps if self.downsample is None else self.downsample(maps)
        result: Tensor = self.relu(out)
        return result


class ResNet(nn.Module):
    """A network of the family.

    Args:
        layout: which.
        num_classes: K.
        in_channels: C.
        stem: ``imagenet``: 7x7 convolution and pooling, together stride 4. ``small``: one 3x3 convolution with
            stride 1 and no pooling, as usual for CIFAR.
    """

    graph_safe = True

    def __init__(self, layout: Layout, num_classes: int, in_channels: int, stem: Stem) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 7, 2)
        # Another first convolution comes in that one's place: all others are drawn as if it were an exchanged one.
        if stem == "small":
            self.conv1 = _convolution(in_channels, 64, 3)
        elif in_channels != 3:
            self.conv1 = _convolution(in_channels, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, stride=2, padding=1)
        before = 64
        for stage, blocks in enumerate(layout.blocks):
            channels = 64 << stage
            made = []
            for place in range(blocks):
                made.append(Block(before, channels, 2 if stage and not place else 1, layout))
                before = 4 * channels if layout.bottleneck else channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] from ``images`` [B, C, H, W] float."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


class Weights:
    """torchvision's best weights for a network, trained on ImageNet; see :class:`clsfit.contracts.Pretrained`.

    Args:
        name: the network's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def preprocessing(self) -> Preprocessing:
        """The size at which torchvision evaluates the weights, and their normalisation."""
        from clsfit_standard.models import torchvision

        return torchvision.Weights(self.name).preprocessing()

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of the file that torchvision names, downloaded unless it lies in torch's cache."""
        from clsfit_standard.models import torchvision

        return torchvision.Weights(self.name).tensors()


class Factory:
    """The factory of one network.

    Attributes:
        pretrained: its weights.
    """

    def __init__(self, name: str) -> None:
        family = TORCHVISION[name]
        self.layout, self.pretrained = LAYOUTS[name], Weights(name)
        self.__doc__ = f"{name}, torchvision's {family.title}, untrained; https://arxiv.org/abs/{family.paper}"

    def __call__(self, num_classes: int, in_channels: int, stem: Stem = "imagenet") -> nn.Module:
        """The network, drawn as torchvision draws it; arguments as of :class:`ResNet`."""
        return ResNet(self.layout, num_classes, in_channels, stem)


def _convolution(before: int, after: int, side: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, stride, padding=side // 2, groups=groups, bias=False)


@cache
def _factory(name: str) -> Factory:
    return Factory(name)


def __getattr__(name: str) -> Factory:
    if name not in LAYOUTS:
        raise AttributeError(f"there is no ResNet {name!r}")
    return _factory(name)
