"""What a model file's header may say: every value of it is checked before anything is made of it.

A right hash says that a file is as it was written, not by whom. So a header decides nothing but which
installed components are used, and with which values; what no training writes is refused here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from clsfit.errors import CheckpointError, printable

FORMAT = 1
"""Of the header; a reader of one format refuses every other."""

_LARGEST = 2**63 - 1
_MOST_PIXELS = 50_000_000  # of the input; no larger picture is read
_LONGEST_SIDE = 10_000_000
_MOST_VALUES = 10_000  # in the options of one component, beside one for each class
_DEEPEST = 32  # lists in lists
_MOST_ENTRIES = 1_000
_PARTS = frozenset({"format", "classes", "class_counts", "model", "loss", "metrics", "prepare", "finish", "plugins"})
_REQUIREMENT = re.compile(r"[\w.+!-]*")  # what may stand in a command that a message proposes


class _WrongError(Exception):
    """What is wrong with a header, in a few words."""


def check(header: Mapping[str, Any], where: str | os.PathLike[str]) -> None:
    """Refuses a header of another format, and one that no training writes.

    Args:
        header: what a model file says beside the weights.
        where: the file, for the error.

    Raises:
        CheckpointError: saying which value is wrong.
    """
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"the model file has format {printable(repr(header.get('format')))}, and this clsfit reads {FORMAT}",
            printable(str(where)),
            f"use the version of clsfit that wrote it: {printable(str(header.get('clsfit')))}",
        )
    try:
        _check(header)
    except _WrongError as wrong:
        raise CheckpointError(
            f"the model file's header says what no training writes: {wrong}",
            printable(str(where)),
            "do not use it; train again, or ask who made it",
        ) from None


def _check(header: Mapping[str, Any]) -> None:
    if missing := sorted(_PARTS - header.keys()):
        raise _WrongError(f"it has no {missing[0]}")
    classes = _list(header, "classes", str)
    if not classes or len(set(classes)) < len(classes):
        raise _WrongError("classes are none, or not all different")
    _counts(header, len(classes))
    plugins = _plugins(header)
    for name in ("model", "loss"):
        _component(header[name], name, plugins, len(classes))
    for name in ("metrics", "augments"):
        for entry in _list(header, name, dict) if name in header else []:
            _component(entry, name, plugins, len(classes))
    _pictures(header)
    for name, smallest in (("batch_size", 1), ("seed", 0), ("total_steps", 0), ("steps_per_epoch", 0)):
        _whole(header, name, smallest)
    _one_of(header, "precision", ("auto", "fp32", "bf16", "fp16"))
    _one_of(header, "device", ("auto", "cpu", "cuda", "mps"))
    if "channels_last" in header:  # the first files had none
        _one_of(header, "channels_last", (True, False))


def _counts(header: Mapping[str, Any], classes: int) -> None:
    counts = _list(header, "class_counts", int)
    if len(counts) != classes or not all(0 <= count <= _LARGEST for count in counts):
        raise _WrongError(f"class_counts are not {classes} counts")
    weights = header.get("class_weights")
    if weights is None:
        return
    if not isinstance(weights, list) or len(weights) != classes or not all(map(_finite, weights)) or min(weights) < 0:
        raise _WrongError(f"class_weights are not {classes} weights")


def _plugins(header: Mapping[str, Any]) -> set[str]:
    """The names of the plugins that the header lists."""
    listed = _list(header, "plugins", dict)
    for plugin in listed:
        if not all(isinstance(plugin.get(name), str) for name in ("name", "distribution", "version")):
            raise _WrongError("plugins have a name, a distribution and a version")
        if not all(_REQUIREMENT.fullmatch(plugin[name]) for name in ("distribution", "version")):
            raise _WrongError("a plugin's distribution or version is none")
    if len(listed) > _MOST_ENTRIES:
        raise _WrongError("too many plugins")
    return {plugin["name"] for plugin in listed}


def _component(entry: Any, where: str, plugins: set[str], classes: int) -> None:
    """An entry ``{name, plugin, params}``."""
    if not isinstance(entry, dict) or not isinstance(entry.get("params"), dict):
        raise _WrongError(f"{where}: no name with params")
    plugin = entry.get("plugin")
    if not isinstance(entry.get("name"), str) or not isinstance(plugin, str) or plugin not in plugins:
        raise _WrongError(f"{where}: no name of a plugin that is listed")
    waiting, values = [(entry["params"], 0)], 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if depth > _DEEPEST or values > _MOST_VALUES + classes:
            raise _WrongError(f"{where}: too many values, or too deep")
        if isinstance(value, dict | list):
            waiting += [(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise _WrongError(f"{where}: an option is not a number")


def _pictures(header: Mapping[str, Any]) -> None:
    """The two halves of the preprocessing."""
    prepare, finish = header["prepare"], header["finish"]
    if not isinstance(prepare, dict) or not isinstance(finish, dict):
        raise _WrongError("prepare and finish are no objects")
    if prepare.get("canvas_side") is not None:
        _whole(prepare, "canvas_side", 1, _LONGEST_SIDE)
    for part in (prepare, finish):
        _one_of(part, "channels", (1, 3))
    if prepare["channels"] != finish["channels"]:
        raise _WrongError("prepare and finish have different channels")
    size = _list(finish, "input_size", int)
    if len(size) != 2 or min(size) < 1 or max(size) > _LONGEST_SIDE or size[0] * size[1] > _MOST_PIXELS:
        raise _WrongError("input_size is no height and width of a picture")
    _one_of(finish, "resize", ("short", "stretch", "pad"))
    for name in ("mean", "std"):
        values = finish.get(name)
        if not isinstance(values, list) or len(values) not in {1, finish["channels"]} or not all(map(_finite, values)):
            raise _WrongError(f"{name} is no number per channel")
    if min(finish["std"]) <= 0:
        raise _WrongError("std is not above 0")


def _list(values: Mapping[str, Any], name: str, kind: type[Any]) -> list[Any]:
    found = values.get(name)
    if not isinstance(found, list) or not all(type(item) is kind for item in found):
        raise _WrongError(f"{name} is no list of the right values")
    if kind is dict and len(found) > _MOST_ENTRIES:
        raise _WrongError(f"too many {name}")
    return found


def _whole(values: Mapping[str, Any], name: str, smallest: int, largest: int = _LARGEST) -> None:
    value = values.get(name)
    if type(value) is not int or not smallest <= value <= largest:
        raise _WrongError(f"{name} is no whole number from {smallest} to {largest}")


def _one_of(values: Mapping[str, Any], name: str, known: tuple[Any, ...]) -> None:
    value = values.get(name)
    if type(value) is not type(known[0]) or value not in known:
        raise _WrongError(f"{name} is none of {', '.join(map(str, known))}")


def _finite(value: Any) -> bool:
    """Whether it is a number of float64; a whole number of hundreds of digits is none."""
    if type(value) is int:
        return abs(value) <= _LARGEST
    return type(value) is float and math.isfinite(value)
