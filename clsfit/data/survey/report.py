"""A survey in words: for people, and as the object that ``clsfit data check --json`` prints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from clsfit.data.balance import imbalance_ratio
from clsfit.data.survey import Survey, counts
from clsfit.data.survey.duplicates import Duplicate
from clsfit.data.survey.looks import GOOD
from clsfit.data.table import SPLITS
from clsfit.errors import DataError, printable

NOTHING = "nothing was found that is not as it should be"

_SHOWN = 3
_CLASSES = 12  # classes that a report lists; of more, the largest and the smallest
_UNBALANCED = 1.5  # times as many pictures in the largest class as in the smallest
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
_PICTURE_ENDINGS = {ending: name for name, endings in _ENDINGS.items() for ending in endings}


def to_json(found: Survey) -> dict[str, Any]:
    """JSON values; paths are the table's, as they are."""
    paths = found.table.paths
    return {
        "pictures": len(found.table),
        "classes": counts(found.table),
        "unreadable": [paths[row] for row in found.unreadable],
        "duplicates": [
            {
                "paths": [paths[row] for row in pair.rows],
                "kind": pair.kind,
                "across_splits": pair.across_splits,
                "across_labels": pair.across_labels,
            }
            for pair in found.duplicates
        ],
        "findings": list(findings(found)),
    }


def lines(found: Survey) -> Iterator[str]:
    """The report for people: what there is, then what was found, the first few by name."""
    yield f"pictures  {len(found.table):,}{_by_split(found)}"
    yield f"classes   {_classes(counts(found.table))}"
    good = found.looks[found.looks["verdict"] == GOOD]
    if len(good):
        yield f"sizes     {_sizes(good)}"
        yield f"modes     {_modes(good)}"
    told = [*_problems(found), *found.notes]
    yield ""
    yield from (f"- {line}" for line in told)
    if not told:
        yield NOTHING


def refusal(found: Survey) -> DataError | None:
    """The error of ``--strict``: files that cannot be read, pictures in two splits or with two labels."""
    leaks, conflicts = found.leaks, found.conflicts
    kinds = [
        (len(found.unreadable), "unreadable", [printable(found.table.paths[row]) for row in found.unreadable]),
        (len(leaks), "in two splits", [_pair(found, pair, found.splits) for pair in leaks[:_SHOWN]]),
        (len(conflicts), "with two labels", [_pair(found, pair, found.table.labels()) for pair in conflicts[:_SHOWN]]),
    ]
    told = [(f"{number:,} {what}", _listed(names, number)) for number, what, names in kinds if number]
    if not told:
        return None
    return DataError(
        f"pictures that must not be: {', '.join(what for what, _ in told)}",
        "; ".join(names for _, names in told),
        "repair or remove what is named, or leave out --strict",
    )


def findings(found: Survey) -> Iterator[str]:
    """One line each on what asks for attention; text from outside is printable."""
    yield from _problems(found)
    good = found.looks[found.looks["verdict"] == GOOD]
    if _different(good) > 1:
        yield f"pictures differ in size: {_sizes(good)}"
    if len(np.unique(good["mode"])) > 1:
        yield f"pictures differ in mode: {_modes(good)}"
    yield from found.notes


def _problems(found: Survey) -> Iterator[str]:
    paths = found.table.paths
    if found.unreadable:
        named = [f"{printable(paths[row])} ({why})" for row, why in list(found.unreadable.items())[:_SHOWN]]
        yield f"{_number(len(found.unreadable), 'picture')} cannot be read: {_listed(named, len(found.unreadable))}"
    yield from _pairs(found, found.leaks, "in two splits, so scores are too good", found.splits)
    yield from _pairs(found, found.conflicts, "with two labels", found.table.labels())
    for kind, what in (("exact", "byte for byte"), ("near", "encoded again, resized or mirrored")):
        pairs = [pair for pair in found.duplicates if pair.kind == kind]
        yield from _pairs(found, pairs, f"the same picture twice, {what}", None)
    if found.duplicates and "val" not in found.splits:
        yield "train will hold out pictures for validation by chance: what is there twice may fall on both sides"
    yield from _endings(found)
    yield from _balance(counts(found.table))


def _pairs(found: Survey, pairs: Sequence[Duplicate], what: str, marks: Sequence[str] | None) -> Iterator[str]:
    if pairs:
        named = [_pair(found, pair, marks) for pair in pairs[:_SHOWN]]
        yield f"{_number(len(pairs), 'pair')} {what}: {_listed(named, len(pairs))}"


def _pair(found: Survey, pair: Duplicate, marks: Sequence[str] | None) -> str:
    return " = ".join(
        printable(found.table.paths[row]) + (f" ({printable(marks[row])})" if marks else "") for row in pair.rows
    )


def _endings(found: Survey) -> Iterator[str]:
    """Files whose ending names one format while their bytes are another."""
    wrong = []
    for row, kind in enumerate(found.looks["format"].tolist()):
        path = found.table.paths[row]
        named = _PICTURE_ENDINGS.get(os.path.splitext(path)[1].lower())
        if kind and named is not None and found.looks["verdict"][row] == GOOD and named != kind.decode():
            wrong.append(f"{printable(path)} is {kind.decode()}")
    if wrong:
        yield f"{_number(len(wrong), 'picture')} with another format's ending: {_listed(wrong, len(wrong))}"


def _balance(classes: dict[str, int]) -> Iterator[str]:
    ratio = imbalance_ratio(classes.values())
    if ratio >= _UNBALANCED:
        (most, many), (least, few) = max(classes.items(), key=_second), min(classes.items(), key=_second)
        yield (
            f"classes are unbalanced: imbalance ratio {ratio:.1f} "
            f"({printable(most)} has {many:,} pictures, {printable(least)} {few:,})"
        )
    lonely = [printable(name) for name, number in classes.items() if number == 1]
    if lonely:
        one = "class has" if len(lonely) == 1 else "classes have"
        yield f"{len(lonely):,} {one} one picture only, so it cannot be validated: {_listed(lonely, len(lonely))}"


def _second(item: tuple[str, int]) -> int:
    return item[1]


def _by_split(found: Survey) -> str:
    told = Counter(found.splits)
    return ": " + ", ".join(f"{name} {told[name]:,}" for name in SPLITS if name in told) if any(found.splits) else ""


def _classes(classes: dict[str, int]) -> str:
    ranked = sorted(classes.items(), key=_second, reverse=True)
    shown = ranked if len(ranked) <= _CLASSES else [*ranked[: _CLASSES // 2], ("...", 0), *ranked[-_CLASSES // 2 :]]
    named = ", ".join(f"{printable(name)} {number:,}" if number else name for name, number in shown)
    return f"{len(classes):,}: {named}; imbalance ratio {imbalance_ratio(classes.values()):.1f}"


def _sizes(good: Any) -> str:
    """Width x height of the smallest and the largest, by area."""
    areas = good["height"].astype(np.int64) * good["width"]
    small, large = good[areas.argmin()], good[areas.argmax()]
    different = _different(good)
    shown = f"{small['width']}x{small['height']}"
    return shown if different == 1 else f"{shown} to {large['width']}x{large['height']}, {different:,} different"


def _different(good: Any) -> int:
    return len(np.unique(good["height"].astype(np.int64) << 32 | good["width"]))


def _modes(good: Any) -> str:
    told = Counter(mode.decode() for mode in good["mode"].tolist())
    return ", ".join(f"{mode} {number:,}" for mode, number in told.most_common())


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _listed(names: Iterable[str], number: int) -> str:
    shown = list(names)[:_SHOWN]
    return ", ".join(shown) + (f" and {number - len(shown):,} more" if number > len(shown) else "")
