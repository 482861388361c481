"""``clsfit train`` on the digits, whole process, against a hand-written script of the same recipe."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting

_MLP = (
    *("--model", "mlp", "--model.hidden", "128", "--scheduler", "constant", "--optimizer", "sgd"),
    *("--optimizer.lr", "0.1", "--optimizer.momentum", "0", "--optimizer.weight_decay", "0"),
)


def groups(setting: Setting) -> Sequence[Group]:
    epochs = setting.of(2, 20, 20)
    common = ("digits", "--epochs", epochs, "--device", "cpu")
    seconds = Figure("seconds", "whole process, s", {"clsfit train": 0.65})
    mlp = [
        setting.peer("hand-written", "digits_hand.py", "mlp", epochs, setting.work / "mlp.pt"),
        setting.train("clsfit train", setting.work / "mlp", *common, *_MLP),
        setting.peer("Lightning", "digits_lightning.py", epochs, needs=("lightning",)),
    ]
    usual = [
        setting.peer("hand-written", "digits_hand.py", "default", epochs, setting.work / "default.pt"),
        setting.train("clsfit train", setting.work / "default", *common),
    ]
    peak = Figure("peak", "peak resident, MiB")
    if setting.size == "tiny":
        return [Group("MLP 64-128-10, SGD", mlp[:2], [seconds, peak])]
    return [
        Group("MLP 64-128-10, SGD", mlp, [seconds, peak], warm=True),
        Group("clsfit's default recipe", usual, [Figure("seconds", seconds.title), peak], warm=True),
    ]
