"""``--recipe cifar-speed`` on all of CIFAR-10: how long it trains, how long all else takes, how many it gets right.

What it is to be compared with was measured on another machine and is no program here, so there is no ratio.
"""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    """None on a CPU, where the recipe takes hours; its tiny size is an epoch of few pictures."""
    if setting.size != "tiny" and not setting.on_gpu:
        return []
    words = (setting.whole, "--device", setting.device, "--output", setting.work / "run")
    epochs = ("--epochs", 1) if setting.size == "tiny" else ()
    figures = [Figure("training", "training, s"), Figure("rest", "all else until the model file, s"), *setting.costs]
    return [Group("cifar-speed", [setting.ours("clsfit", "speed.py", *words, *epochs)], figures)]
