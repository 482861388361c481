"""Peak resident memory of ``clsfit train``, against what torch and the data need, and over epochs."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    folder, few, many = setting.small / "train", setting.of(1, 2, 5), setting.of(2, 50, 50)
    words = ("--model", "three_convolutions", "--batch-size", 128, "--val-fraction", 0, "--channels", 3)
    train = (folder, *words, "--optimizer", "sgd", "--device", setting.device, "--epochs")
    need = [
        setting.peer("torch and the data", "memory_need.py", folder, few),
        setting.train("clsfit train", setting.work / "few", *train, few),
    ]
    growth = [
        setting.train("a few epochs", setting.work / "few", *train, few),
        setting.train("50 epochs", setting.work / "many", *train, many),
    ]
    title = "peak resident, MiB"
    if setting.size == "tiny":
        return [Group("CIFAR-10", need, [Figure("peak", title)])]
    return [
        Group("CIFAR-10", need, [Figure("peak", title, {"clsfit train": 1.2})]),
        Group("growth", growth, [Figure("peak", title)], same=False),
    ]
