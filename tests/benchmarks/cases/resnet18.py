"""Training a ResNet-18 on 32x32 JPEGs, as a share of the compute ceiling: the same steps on random tensors."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group, Program
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    figures = [Figure("later", "later epochs, pictures/s", {"clsfit": 0.97}, more=True), *setting.costs]
    found = [
        Group("7x7 stem", _programs(setting, "resnet18", setting.of(2, 2, 3)), figures, same=False),
        Group("3x3 stem", _programs(setting, "resnet18_small", 2)[:3], figures, same=False),
    ]
    return found if setting.size == "full" or setting.on_gpu else found[:1]


def _programs(setting: Setting, model: str, epochs: int) -> list[Program]:
    words = (setting.small, "--model", model, "--epochs", epochs, "--device", setting.device, "--lr", 0.02)
    words = (*words, "--batch", setting.of(32, 128, 128))
    workers = ("--workers", setting.workers) if setting.on_gpu else ()  # here they would take the step's cores
    found = [
        setting.peer("ceiling", "ceiling.py", *words),
        setting.ours("clsfit", "folder.py", *words, "--output", setting.work / "run"),
        setting.peer("ImageFolder", "hand.py", *words, *workers),
        setting.peer("torchvision.io, v2, meters", "reference.py", *words, *workers, "--decoder", "torchvision"),
        setting.peer("timm", "timm_loop.py", *words, *workers, needs=("timm",)),
        setting.peer("Lightning", "lightning_loop.py", *words, *workers, needs=("lightning",)),
        setting.peer("Ultralytics", "ultralytics_loop.py", *words, *workers, needs=("ultralytics",)),
    ]
    return found if setting.size != "tiny" else found[:2]
