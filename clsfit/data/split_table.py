"""A split as a table of pictures: the rows that ``clsfit train`` reads back as the same pictures, classes and split."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clsfit.data import checks, group_split, groups, split, split_by
from clsfit.data.archive import ArchiveSource, in_archive
from clsfit.data.sources import FolderSource
from clsfit.data.table import SampleTable
from clsfit.data.table_file import TableSource
from clsfit.data.table_text import read_rows
from clsfit.data.walk import inside
from clsfit.errors import ConfigError, DataError, printable
from clsfit.storage.rundir import csv_line

_NO_TEXT = re.compile("[\ud800-\udfff]")  # bytes of a name that are no UTF-8


def divided(
    source: Any,
    *,
    val_fraction: float | None = None,
    test_fraction: float = 0.0,
    seed: int = 0,
    group: str | None = None,
    group_regex: str | None = None,
    by: str | None = None,
    default: float = 0.2,
) -> tuple[SampleTable, tuple[str, ...]]:
    """A source's table with a split for every picture, as a run would have it, and notes on the groups.

    Both fractions are of the pictures that are there to be divided: those for training.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        val_fraction: held out for validation, where the data set has no such pictures; None: no wish.
        test_fraction: held out for test before that; 0: none.
        seed: any integer.
        group: as :func:`clsfit.data.groups.assign`.
        group_regex: as there.
        by: where the split that is there already comes from, as :func:`clsfit.data.split_by.divide`.
        default: the ``val_fraction`` of no wish.

    Raises:
        DataError: a picture is not there; the groups cannot be divided.
        ConfigError: a fraction without effect, or fractions that leave nothing.
    """
    table = source.table()
    if absent := getattr(source, "absent", {}):
        raise checks.refuse(absent, table.paths, remedy="correct the paths, or take these rows out")
    before = split_by.divide(source, table, by, groups=group is None and group_regex is None)
    split_by.check_trained(before.table, by)
    table = before.table
    _check_effect(table, val_fraction, test_fraction)
    fraction = default if val_fraction is None else val_fraction
    if "val" not in table.splits and fraction + test_fraction >= 1:
        raise ConfigError(
            f"nothing would be left to train on: {fraction:g} for validation, {test_fraction:g} for test",
            "options --val-fraction, --test-fraction",
            "lower one of them",
        )
    table, notes = groups.assign(table, group, group_regex, max(fraction, test_fraction))
    if test_fraction:
        free = np.array([row for row, name in enumerate(table.splits) if name in {"", "train"}], dtype=np.int64)
        held = split.hold_out(table.select(free).with_splits(()), test_fraction, seed)
        splits = np.array(table.splits, dtype="<U5")
        splits[free[held.rows("val")]] = "test"
        table = table.with_splits(splits.tolist())
        fraction /= 1 - test_fraction
    table = split.hold_out(table, fraction, seed)
    return table, before.notes + notes + (group_split.describe(table) if table.groups else ())


def written(source: Any, table: SampleTable, place: Path) -> bytes:
    """The table of ``table`` for a file at ``place``: ``path,label,group,split``, and ``weight`` where there is one.

    Paths are relative to the file's folder, with ``/``; those that DATA names absolutely stay so.

    Args:
        source: whose table it is: a folder, an archive or a table of pictures.
        table: with a split for every row.
        place: where the file will be.

    Raises:
        DataError: the pictures are no files; one is a link that may not be followed from there; a name cannot be
            written so that it is read back the same.
    """
    if not isinstance(source, FolderSource | TableSource | ArchiveSource):
        raise DataError(
            "a table names pictures by their files, and these are in none",
            "argument DATA",
            "name a folder, an archive or a table",
        )
    base, root = os.path.abspath(place.parent), os.path.abspath(source.root)
    _check_links(table.paths, root, base)
    folders = functools.cache(functools.partial(_relative, root=root, base=base))
    columns = {
        "path": [_moved(path, folders) for path in table.paths],
        "label": table.labels(),
        "group": table.groups or ("",) * len(table),
        "split": table.splits,
    }
    if table.weights is not None:
        columns["weight"] = [repr(weight) for weight in table.weights.tolist()]
    text = csv_line(columns) + "".join(map(csv_line, zip(*columns.values(), strict=True)))
    return _checked(text, columns, place)


def _check_links(paths: Sequence[str], root: str, base: str) -> None:
    """A table's reader follows links within the table's folder only, or, outside of that, within their own."""
    top = os.path.realpath(base)
    for path in paths:
        full = os.path.join(root, path)
        full = place[0] if (place := in_archive(full)) is not None else full
        if os.path.islink(full):
            own = full.startswith(os.path.join(base, ""))
            if not inside(full, top if own else os.path.realpath(os.path.dirname(full))):
                raise DataError(
                    "a picture is a link that would not be followed from a table there",
                    printable(path),
                    "write the table into the folder above DATA, or replace the link by the file it leads to",
                )


def _checked(text: str, columns: Mapping[str, Sequence[str]], place: Path) -> bytes:
    """``text`` as bytes, once it has been read back as ``columns``."""
    rows = zip(*columns.values(), strict=True)
    if not _is_text(text):
        wrong = next(row[0] for row in rows if not all(map(_is_text, row)))
        raise DataError(
            "a name is no text, so a table cannot hold it", printable(wrong), "rename it, or train on the folder"
        )
    data = text.encode()
    read = read_rows(os.fspath(place), data)
    now = zip(read.paths, read.labels, read.groups or [""] * len(read.paths), read.splits, strict=True)
    for (path, label, group, name, *_), cells in zip(rows, now, strict=True):
        if cells != (path, label, group, name):
            raise DataError(
                "a name would be read back from a table as another one",
                f"{printable(path)}, label {printable(label)!r}, group {printable(group)!r}",
                "rename it: blanks at its ends do not count in a table",
            )
    return data


def _is_text(text: str) -> bool:
    return _NO_TEXT.search(text) is None


def _moved(path: str, folders: Callable[[str], str]) -> str:
    """A path relative to DATA as one relative to the table's folder; one that DATA names absolutely stays so."""
    if os.path.isabs(path):
        return path
    above, slash, name = path.rpartition("/")
    folder = folders(above + slash)
    return f"{folder}/{name}" if folder != "." else name


def _relative(folder: str, root: str, base: str) -> str:
    """A folder of DATA, relative to the table's."""
    full = os.path.join(root, folder)
    try:
        return os.path.relpath(full, base).replace(os.sep, "/")
    except ValueError:  # on another drive
        return full


def _check_effect(table: SampleTable, val_fraction: float | None, test_fraction: float) -> None:
    for option, split_name, given in (
        ("--val-fraction", "val", val_fraction is not None),
        ("--test-fraction", "test", test_fraction > 0),
    ):
        if given and split_name in table.splits:
            kind = "validation" if split_name == "val" else split_name
            raise ConfigError(
                f"{option} has no effect: DATA has {kind} pictures of its own", f"option {option}", "leave it out"
            )
