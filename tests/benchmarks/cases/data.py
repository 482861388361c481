"""Pictures per second: the data path alone, and with a small network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from measure import Figure, Group, Program
from setting import Setting

_FIRST, _LATER = "first epoch, pictures/s", "later epochs, pictures/s"


def groups(setting: Setting) -> Sequence[Group]:
    side = setting.of(64, 224, 224)
    alone = {"clsfit": 10.0}
    small = _programs(setting, setting.small, "none", 32, 128, setting.of(2, 4, 6))
    photos = _programs(setting, setting.photos, "none", side, 32, setting.of(2, 4, 6))
    trained = _programs(setting, setting.small, "three_convolutions", 32, 128, setting.of(2, 6, 10))
    shown = _programs(setting, setting.photos, "three_convolutions", side, 32, setting.of(2, 8, 12))
    found = [
        Group("32x32, no model", small, _figures(alone)),
        Group("photographs at 224, no model", photos, _figures(alone)),
        Group("32x32, small network", trained, [Figure("later", _LATER, {"clsfit": 3.8}, more=True), *setting.costs]),
        Group("photographs at 224, small network", shown, [Figure("later", _LATER, more=True), *setting.costs]),
    ]
    return found if setting.size != "tiny" else found[1:3]


def _figures(later: dict[str, float]) -> list[Figure]:
    return [Figure("first", _FIRST, {"clsfit": 1.0}, more=True), Figure("later", _LATER, later, more=True)]


def _programs(setting: Setting, folder: Path, model: str, side: int, batch: int, epochs: int) -> list[Program]:
    words = (folder, "--model", model, "--side", side, "--batch", batch, "--epochs", epochs, "--device", setting.device)
    workers, tensors = ("--workers", setting.workers), ("--decoder", "torchvision")
    found = [
        setting.peer("ImageFolder", "hand.py", *words, *workers),
        setting.ours("clsfit", "folder.py", *words, "--output", setting.work / "run"),
        setting.peer("torchvision.io, v2", "reference.py", *words, *workers, *tensors),
        setting.peer("timm", "timm_loop.py", *words, *workers, needs=("timm",)),
        setting.peer("Lightning", "lightning_loop.py", *words, *workers, needs=("lightning",)),
    ]
    if setting.size == "tiny":
        return found[:2]
    return found if model != "none" else found[:-1]
