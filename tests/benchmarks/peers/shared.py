"""What the peers' programs share: their arguments, their networks, and how they report. No clsfit here.

On a GPU they compute as users are told to: bf16 under autocast, channels_last, and cuDNN tries its kernels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
MODELS = ("none", "three_convolutions", "resnet18", "resnet18_small", "resnet50", "efficientnet_b0", "vit_b_16")


def arguments() -> argparse.Namespace:
    """The options of every program that trains on a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="with train/CLASS, and val/CLASS or test/CLASS")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--decoder", choices=("pillow", "torchvision"), default="pillow")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="the network, by torch.compile")
    help_ = "the whole recipe: a cosine to 0, validation after each epoch, and in the end the weights into FILE"
    parser.add_argument("--save", type=Path, metavar="FILE", help=help_)
    return parser.parse_args()


def network(name: str, classes: int) -> nn.Module:
    """The model that all tools train."""
    if name == "three_convolutions":
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
    from torchvision import models

    model = models.get_model(name.removesuffix("_small"), weights=None, num_classes=classes)
    if name == "resnet18_small":
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


def placed(model: nn.Module, device: str) -> nn.Module:
    """``model`` on the device; on a GPU in channels_last."""
    if device == "cpu":
        return model
    torch.backends.cudnn.benchmark = True
    return model.to(device, memory_format=torch.channels_last)


def sent(images: torch.Tensor, device: str) -> torch.Tensor:
    """``images`` [B, C, H, W] on the device; on a GPU in channels_last, which they become there."""
    if device == "cpu":
        return images
    return images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)


def autocast(device: str) -> AbstractContextManager[Any]:
    """bf16 on a GPU, nothing elsewhere. The cache of casts is off: no weight is used twice in a step."""
    return nullcontext() if device == "cpu" else torch.autocast("cuda", torch.bfloat16, cache_enabled=False)


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate goes to 0 along half a cosine."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


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


def held_out(given: argparse.Namespace) -> DataLoader[Any]:
    """The pictures that are not trained on, val/ or test/: short side resized to ``--side``, the middle of it."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    folder = next(given.folder / name for name in ("val", "test") if (given.folder / name).is_dir())
    steps = [transforms.Resize(given.side), transforms.CenterCrop(given.side), transforms.ToTensor()]
    pictures = ImageFolder(str(folder), transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]))
    kept = given.workers > 0
    return DataLoader(
        pictures, given.batch, num_workers=given.workers, persistent_workers=kept, pin_memory=given.device != "cpu"
    )


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[Any], device: str) -> float:
    """The share of right answers."""
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=device)  # read once: each reading would wait for the device
    count = 0
    for images, targets in batches:
        with autocast(device):
            logits = model(sent(images, device))
        right += (logits.argmax(1) == targets.to(device, non_blocking=True)).sum()
        count += len(targets)
    return right.item() / count


def save(model: nn.Module, file: Path) -> None:
    """The weights, in a folder that is made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)


def report(**found: Any) -> None:
    """The last line of the program's output, with the peak of the device's memory in MiB if there is one."""
    if torch.cuda.is_initialized():
        found = {"device_peak": torch.cuda.max_memory_allocated() / 2**20} | found
    print(json.dumps(found))
