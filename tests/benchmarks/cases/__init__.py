"""The cases: each makes the groups of programs that are measured, from a :class:`setting.Setting`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from measure import Group
from setting import Setting

from cases import data, digits, engine, memory, predict, resnet18, start

CASES: dict[str, Callable[[Setting], Sequence[Group]]] = {
    "start": start.groups,
    "digits": digits.groups,
    "engine": engine.groups,
    "data": data.groups,
    "resnet18": resnet18.groups,
    "predict": predict.groups,
    "memory": memory.groups,
}
