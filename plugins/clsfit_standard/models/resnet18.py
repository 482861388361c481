"""torchvision's ResNet-18. Only this module imports torchvision, which takes most of a second."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models.resnet import ResNet


def resnet18(num_classes: int, in_channels: int, stem: str = "imagenet") -> ResNet:
    """ResNet-18 (He et al. 2015, https://arxiv.org/abs/1512.03385), untrained.

    Args:
        num_classes: K, units of the head.
        in_channels: C, any number.
        stem: ``imagenet``: 7x7 convolution and pooling, together stride 4. ``small``: one 3x3
            convolution with stride 1 and no pooling, as usual for CIFAR.
    """
    model = torchvision_resnet18(weights=None, num_classes=num_classes)
    if stem == "small":
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model
