"""The cases: each makes the groups of programs that are measured, from a :class:`setting.Setting`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from measure import Group
from setting import Setting

from cases import cifar, data, digits, engine, memory, photos, predict, resnet18, speed, start, steps

CASES: dict[str, Callable[[Setting], Sequence[Group]]] = {
    "start": start.groups,
    "digits": digits.groups,
    "engine": engine.groups,
    "data": data.groups,
    "resnet18": resnet18.groups,
    "photos": photos.groups,
    "cifar": cifar.groups,
    "steps": steps.groups,
    "speed": speed.groups,
    "predict": predict.groups,
    "memory": memory.groups,
}
