"""Which group a picture belongs to: the folder that holds it, what a pattern finds in its path, or a column."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from clsfit.data.group_split import check_disjoint
from clsfit.data.layout import SPLIT_FOLDERS
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError, printable

_SHOWN = 3
_SEPARATORS = re.compile(r"[/\\]" if os.sep == "\\" else "/")


def assign(
    table: SampleTable, group: str | None, group_regex: str | None, val_fraction: float
) -> tuple[SampleTable, tuple[str, ...]]:
    """``table`` with the groups that the options name, and notes on them.

    Args:
        table: with groups of its own, or none.
        group: ``"parent"``: the name of the folder that holds the picture, whatever lies above it, so
            that one person's folders in two classes are one group. Another name: the column from which the
            table's groups are. None: no wish.
        group_regex: searched for in the path; its first group, or the whole match where it has none,
            is the group's name. None: no wish.
        val_fraction: as :func:`clsfit.data.split.hold_out`.

    Raises:
        DataError: a picture or the column has no group; a group has pictures in two of the splits that the table has;
            the holding folders are the class folders.
        ConfigError: there is no split that the groups could have to do with.
    """
    option = "--group" if group is not None else "--group-regex" if group_regex is not None else ""
    if not option:
        check_disjoint(table)
        return table, ()
    if val_fraction == 0 and set(table.splits) <= {"", "train"}:
        raise ConfigError(
            f"{option} has no effect: --val-fraction 0 holds no pictures out",
            f"option {option}",
            "leave one of them out",
        )
    if group not in {None, "parent"}:
        return _by_column(table, str(group)), ()
    names = _parents(table) if group is not None else _found(table.paths, str(group_regex))
    notes = (f"{option} is used, not the groups that DATA names itself",) if table.groups else ()
    table = SampleTable(table.paths, table.classes, table.targets, table.splits, names, table.weights)
    check_disjoint(table)
    return table, notes


def _by_column(table: SampleTable, column: str) -> SampleTable:
    """``table``, whose groups are those of the column."""
    if not table.groups:
        raise DataError(
            f"--group {printable(column)}: the column names no group",
            "every cell of it is empty",
            "fill it in, or name another column",
        )
    check_disjoint(table)
    return table


def _found(paths: Sequence[str], regex: str) -> tuple[str, ...]:
    """The groups that a pattern finds in paths."""
    pattern = re.compile(regex)
    place = 1 if pattern.groups else 0
    names = []
    lost = []
    for path in paths:
        match = pattern.search(path)
        name = (match[place] or "") if match else ""
        names.append(name)
        if not name:
            lost.append(path)
    if lost:
        raise _without_group(
            f"--group-regex {printable(regex)!r} finds no group in the paths of {_pictures(lost)}",
            lost,
            "correct the pattern; it is searched for in the path relative to DATA",
        )
    return tuple(names)


def _parents(table: SampleTable) -> tuple[str, ...]:
    """The names of the folders that hold the pictures."""
    parts = [_SEPARATORS.split(path) for path in table.paths]
    lost = [path for path, part in zip(table.paths, parts, strict=True) if len(part) < 2 or not part[-2]]
    if lost:
        raise _without_group(
            f"--group parent: no folder below DATA holds {_pictures(lost)}",
            lost,
            "put the pictures of one object into a folder of their own, or use --group-regex",
        )
    names = tuple(part[-2] for part in parts)
    labels = table.labels()
    homes: dict[str, set[str]] = {}
    for name, label in zip(names, labels, strict=True):
        if label:
            homes.setdefault(label, set()).add(name)
    plain = all(
        name == label or name.lower() in SPLIT_FOLDERS for name, label in zip(names, labels, strict=True) if label
    )
    if homes and (plain or all(len(found) == 1 for found in homes.values())):
        example = printable(table.paths[0])
        raise DataError(
            "--group parent: the folders that hold the pictures are the class folders, so each class is one group",
            f"such as {printable(names[0])} in {example}",
            "put the pictures of one object into a folder of their own, or use --group-regex",
        )
    return names


def _pictures(paths: Sequence[str]) -> str:
    return f"{len(paths)} pictures" if len(paths) > 1 else "a picture"


def _without_group(what: str, paths: Sequence[str], remedy: str) -> DataError:
    """The error for pictures that have no group: up to three by name."""
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return DataError(what, ", ".join(printable(path) for path in paths[:_SHOWN]) + more, remedy)
