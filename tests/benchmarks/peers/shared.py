"""What the peers' programs share: their arguments, their networks, and how they report. No clsfit here."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def arguments() -> argparse.Namespace:
    """The options of every program that trains on a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="with train/CLASS and test/CLASS")
    parser.add_argument("--model", choices=("none", "three_convolutions", "resnet18", "resnet18_small"), required=True)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--decoder", choices=("pillow", "torchvision"), default="pillow")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def network(name: str, classes: int) -> nn.Module:
    """The model that all tools train."""
    if name == "three_convolutions":
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
    from torchvision.models import resnet18

    model = resnet18(weights=None, num_classes=classes)
    if name == "resnet18_small":
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


class Clock:
    """Notes when epochs end; begins where the data set is opened.

    Attributes:
        device: waited for at the end of an epoch.
    """

    def __init__(self, device: str) -> None:
        self.device, self.began = device, time.perf_counter()
        self.ends: list[tuple[float, int]] = []

    def epoch(self, pictures: int) -> None:
        """An epoch of so many pictures has ended."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        self.ends.append((time.perf_counter(), pictures))

    def rates(self) -> dict[str, Any]:
        """Pictures per second of the first epoch, with what goes before it, and of all later ones."""
        later = sum(pictures for _, pictures in self.ends[1:]) / (self.ends[-1][0] - self.ends[0][0])
        first = self.ends[0][1] / (self.ends[0][0] - self.began)
        return {"first": first, "later": later, "pictures": sum(pictures for _, pictures in self.ends)}


@torch.no_grad()
def accuracy(model: nn.Module, folder: Path, side: int, device: str) -> float:
    """The share of right answers on the pictures of ``folder``: short side resized to ``side``, the middle of it."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()]
    pictures = ImageFolder(str(folder), transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]))
    model.to(device).eval()
    right = 0
    for images, targets in DataLoader(pictures, 128):
        right += int((model(images.to(device)).argmax(1).cpu() == targets).sum())
    return right / len(pictures)


def report(**found: Any) -> None:
    """The last line of the program's output."""
    print(json.dumps(found))
