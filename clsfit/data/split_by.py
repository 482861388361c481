"""Where a split comes from: ``--split-by ratio|folder|COLUMN|FILE``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data.archive import ArchiveSource
from clsfit.data.columns import Columns
from clsfit.data.layout import SPLIT_FOLDERS
from clsfit.data.sources import FolderSource
from clsfit.data.split_file import SplitFile
from clsfit.data.table import SampleTable
from clsfit.data.table_file import SUFFIXES
from clsfit.errors import ConfigError, DataError, printable

RATIO, FOLDER, PARENT = "ratio", "folder", "parent"
"""Words of ``--split-by`` and of ``--group`` that name no column."""

_SHOWN = 3
_SEPARATORS = re.compile(r"[/\\]" if os.sep == "\\" else "/")


def is_file(split_by: str) -> bool:
    """Whether a table is meant: its ending says so, not the disk, so that a misspelt file is no column."""
    return split_by.lower().endswith(SUFFIXES)


def columns_of(
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    weight_column: str | None = None,
    group: str | None = None,
    split_by: str | None = None,
) -> Columns:
    """What the options of these names say of a table's columns."""
    elsewhere = split_by is not None and (split_by in {RATIO, FOLDER} or is_file(split_by))
    return Columns(
        path=path_column,
        label=label_column,
        group=None if group == PARENT else group,
        split="" if elsewhere else split_by,
        weight=weight_column,
    )


def refuse_ratio(split_by: str | None) -> None:
    """Refuses ``ratio`` where nothing is trained.

    Raises:
        ConfigError: it is ``ratio``.
    """
    if split_by == RATIO:
        raise ConfigError(
            "--split-by ratio divides pictures for training, and nothing is trained here",
            "option --split-by",
            "leave it out: without it the split that DATA has is used, if it has one",
        )


@dataclass(frozen=True)
class Divided:
    """A table whose splits are those that an option asks for.

    Attributes:
        table: a row may have no split still: then it is divided, or trained on.
        notes: lines for the user.
        file: the table that the splits are from, if they are.
        lacking: [M] int64, the rows that it lacks.
    """

    table: SampleTable
    notes: tuple[str, ...] = ()
    file: SplitFile | None = None
    lacking: npt.NDArray[np.int64] | None = None

    def check(self, left_out: Mapping[int, object]) -> None:
        """Refuses a file that lacks pictures other than those that are ``left_out``, by row.

        Raises:
            DataError: naming some.
        """
        if self.file is not None and self.lacking is not None:
            lost = [self.table.paths[row] for row in self.lacking.tolist() if row not in left_out]
            if lost:
                self.file.refuse(lost)


def divide(
    source: Any, table: SampleTable, split_by: str | None, *, groups: bool = True, lenient: bool = False
) -> Divided:
    """``table`` with the splits that ``split_by`` asks for.

    Args:
        source: whose table it is, opened with the columns that :func:`columns_of` says.
        table: of ``source``, or rows of it.
        split_by: None: the splits that it has.
        groups: whether groups are taken from FILE, where it names them.
        lenient: whether FILE may lack pictures, for which :meth:`Divided.check` is asked later.

    Raises:
        DataError: there are no such folders; FILE is not of these pictures.
    """
    if split_by == RATIO:
        return _pooled(table)
    if split_by == FOLDER:
        return Divided(_by_folders(source, table))
    if split_by is None or not is_file(split_by):
        return Divided(table)
    file = SplitFile.read(split_by)
    own = table.groups
    table, lacking = file.applied(table, getattr(source, "root", None), groups=groups, lenient=lenient)
    replaced = own and groups and file.rows.groups
    notes = ("the groups of --split-by are used, not those that DATA names itself",) if replaced else ()
    return Divided(table, notes, file, lacking)


def check_trained(table: SampleTable, split_by: str | None) -> None:
    """Refuses a split by which a class has no pictures to train on, as a folder or a table with it would be.

    Raises:
        DataError: naming some of the classes.
    """
    if split_by != FOLDER and not (split_by is not None and is_file(split_by)):
        return
    trained = np.array([split in {"", "train"} for split in table.splits], dtype=bool)
    counts = np.bincount(table.targets[trained & (table.targets >= 0)], minlength=len(table.classes))
    unknown = [printable(name) for name, count in zip(table.classes, counts.tolist(), strict=True) if not count]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise DataError(
            f"there are no pictures to train on of the {'class' if len(unknown) == 1 else 'classes'} "
            + ", ".join(unknown[:_SHOWN])
            + more,
            f"--split-by {printable(split_by)}",
            "move some of them into train, or take these pictures out",
        )


def with_recorded(
    table: SampleTable, recorded: Sequence[Mapping[str, str]], split_by: str | None, *, groups: bool
) -> SampleTable:
    """``table`` as a run's split.csv has divided it, where an option says what it did: nothing else is looked at.

    Args:
        table: the data set as it is now.
        recorded: rows of split.csv.
        split_by: what the option said.
        groups: whether groups are those of FILE.
    """
    if split_by is None:
        return table
    was = {row["path"]: row for row in recorded}
    table = table.with_splits([was[path]["split"] if path in was else "" for path in table.paths])
    if groups and is_file(split_by) and any(row["group"] for row in recorded):
        named = [was[path]["group"] if path in was else path for path in table.paths]
        table = replace(table, groups=tuple(named))
    return table


def _pooled(table: SampleTable) -> Divided:
    labelled = table.targets >= 0
    line = (
        f"--split-by ratio: all {int(labelled.sum()):,} labelled pictures are divided anew, those of a test split too"
    )
    if not labelled.all():
        line += f"; {int((~labelled).sum()):,} without a label are test"
    return Divided(table.with_splits(["" if one else "test" for one in labelled.tolist()]), (line,))


def _by_folders(source: Any, table: SampleTable) -> SampleTable:
    if isinstance(source, FolderSource | ArchiveSource):
        if any(table.splits):
            return table
        raise DataError(
            "--split-by folder: DATA has no split folders",
            "option --split-by",
            "put the class folders into train, val or test, or leave the option out",
        )
    root = os.path.join(os.path.abspath(getattr(source, "root", os.curdir)), "")
    splits = [_first_split(path.removeprefix(root)) for path in table.paths]
    lost = [path for path, split in zip(table.paths, splits, strict=True) if not split]
    if lost:
        more = f", and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise DataError(
            f"--split-by folder: in {len(lost):,} paths no folder is called {', '.join(SPLIT_FOLDERS)}",
            ", ".join(printable(path) for path in lost[:_SHOWN]) + more,
            "correct the paths, or name the column or the table that says the split",
        )
    return table.with_splits(splits)


def _first_split(path: str) -> str:
    """The split that a folder of ``path`` names, of several the first; empty: none."""
    folders = _SEPARATORS.split(path)[:-1]
    return next((SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS), "")
