"""From DATA to canvases: the table, the checks, the split, the common size. No torch here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit import endings
from clsfit.data import (
    archive,
    canvases,
    checks,
    folds,
    glance,
    group_split,
    groups,
    headers,
    leaks,
    sources,
    split,
    split_by,
    table_file,
)
from clsfit.data.canvases import Canvases
from clsfit.data.columns import GUESSED, Columns, refuse
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError, printable

_DEFAULT_SIZE = 224
_LARGEST_COMMON = 512
_CANVAS_FACTOR = 1.75


@dataclass(frozen=True)
class Wishes:
    """What the configuration asks of the data; None is "as the pictures are"."""

    input_size: tuple[int, int] | None
    channels: int | None
    val_fraction: float
    seed: int
    workers: int
    cache: str
    skip_bad: bool
    group: str | None = None
    group_regex: str | None = None
    folds: int | None = None
    fold: int | None = None
    split_by: str | None = None


@dataclass(frozen=True)
class Intake:
    """Checked and prepared data.

    Attributes:
        table: every usable picture, each with its split.
        canvases: the pictures' canvases, by row of ``table``.
        prepare: how a canvas was made.
        input_size: (height, width) that the model sees.
        own_val: whether the data set, or where its split is from, brings validation pictures of its own.
        left_out: paths of unreadable pictures, left out by ``--skip-bad``.
        fingerprint: hash over paths, labels and sizes in bytes.
        notes: one line each on the groups, how they were split, and pictures in two splits.
        found: what was found, in one line; empty where it was said when the run was started.
    """

    table: SampleTable
    canvases: Canvases
    prepare: Prepare
    input_size: tuple[int, int]
    own_val: bool
    left_out: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    found: str = ""


def take_in(
    source: Any,
    wishes: Wishes,
    *,
    recorded: Sequence[Mapping[str, str]] | None = None,
    accept_changes: bool = False,
    strict: bool = False,
    progress: Callable[..., Any] | None = None,
    decoders: Decoders | None = None,
) -> Intake:
    """Reads, checks, splits and prepares a data set.

    Every picture is decoded once, before the first step, so that a corrupt one is named now.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        wishes: what the configuration asks for.
        recorded: the rows of a run's split.csv, to be used instead of a new split.
        accept_changes: whether the data may differ from the recorded.
        strict: whether pictures in two splits are refused, where they would be noted.
        progress: shows progress over pictures.
        decoders: the processes that decode; None: threads do. Canvases that are not kept need them as
            long as they are in use.

    Raises:
        DataError: the data set cannot be used, or differs from the recorded one.
        ResourceError, PluginError: as :func:`clsfit.data.canvases.build`.
        ConfigError: a wish without effect.
    """
    table = source.table()
    fingerprint = table.fingerprint(getattr(source, "sizes_bytes", None))
    absent = getattr(source, "absent", {})
    if absent and not wishes.skip_bad:
        raise checks.refuse(absent, table.paths, remedy=table_file.ABSENT)
    divided = _divided_before(source, table, wishes, recorded)
    table, notes = groups.assign(divided.table, wishes.group, wishes.group_regex, wishes.val_fraction)
    notes = divided.notes + notes
    if table.groups and recorded is None:
        _held_out(table, wishes)  # groups that cannot be divided are told now
    scan = headers.look(
        source, table, wishes.workers, channels=wishes.channels, cache=wishes.cache, skip_bad=wishes.skip_bad
    )
    bad = dict(scan.bad)
    prepare, size = _form(scan, _others(bad, len(table)), wishes)
    made, more = canvases.build(
        source,
        np.arange(len(table.paths)),
        prepare,
        cache=wishes.cache,
        workers=wishes.workers,
        skip_bad=wishes.skip_bad,
        progress=progress,
        cache_dir=None,
        decoders=decoders,
    )
    bad |= more
    left_out = tuple(table.paths[row] for row in sorted(bad))
    if bad:
        if not wishes.skip_bad:
            raise checks.refuse(bad, table.paths)
        kept = _others(bad, len(table))
        table, made = table.select(kept), made.select(kept)
    divided.check(bad)
    own_val = len(table.rows("val")) > 0
    table = _divided(table, wishes, recorded, accept_changes)
    notes += group_split.describe(table) if table.groups else ()
    found = ""
    if recorded is None or accept_changes:  # else it was said when the run was started
        doubles = leaks.look(source, table, wishes.workers, scan.digests, canvases=made, strict=strict)
        notes += doubles.lines
        found = glance.line(table, doubles.groups, whole=doubles.whole)
    return Intake(table, made, prepare, size, own_val, left_out, fingerprint, notes, found)


def _divided_before(
    source: Any, table: SampleTable, wishes: Wishes, recorded: Sequence[Mapping[str, str]] | None
) -> split_by.Divided:
    """The table with the splits that are there before one is drawn: the data set's, or those an option asks for."""
    groups_of_file = wishes.group is None and wishes.group_regex is None
    if recorded is not None:
        return split_by.Divided(split_by.with_recorded(table, recorded, wishes.split_by, groups=groups_of_file))
    divided = split_by.divide(source, table, wishes.split_by, groups=groups_of_file, lenient=wishes.skip_bad)
    split_by.check_trained(divided.table, wishes.split_by)
    if wishes.folds is not None and wishes.split_by is not None and "val" in divided.table.splits:
        raise ConfigError(
            f"--folds has no effect: --split-by {printable(wishes.split_by)} says which pictures are for validation",
            "options --folds, --split-by",
            "leave one of them out",
        )
    return divided


def _divided(
    table: SampleTable, wishes: Wishes, recorded: Sequence[Mapping[str, str]] | None, accept_changes: bool
) -> SampleTable:
    """The table with a split for every picture: the recorded one, the data set's own, or a new one."""
    if recorded is not None:
        table = split.hold_out(
            split.apply_recorded(table, recorded, accept=accept_changes), wishes.val_fraction, wishes.seed
        )
    else:
        table = _held_out(table, wishes)
    _refuse_unlabelled(table)
    return table


def _held_out(table: SampleTable, wishes: Wishes) -> SampleTable:
    """The table with a new split."""
    if wishes.folds is None:
        return split.hold_out(table, wishes.val_fraction, wishes.seed)
    return folds.hold_out_fold(table, wishes.folds, wishes.fold or 1, wishes.seed)


def _form(scan: checks.Scan, good: npt.NDArray[np.int64], wishes: Wishes) -> tuple[Prepare, tuple[int, int]]:
    """How canvases are made, and the input size: as is wished for, else as the ``good`` pictures are."""
    channels = wishes.channels or (1 if len(good) and bool(scan.gray[good].all()) else 3)
    common = checks.common_size(scan)
    size = wishes.input_size or (common if common and max(common) <= _LARGEST_COMMON else (_DEFAULT_SIZE,) * 2)
    return Prepare(channels, None if common == size else round(_CANVAS_FACTOR * max(size))), size


def _refuse_unlabelled(table: SampleTable) -> None:
    """A class of -1 would be an index from the end to some losses, and an abort on an accelerator to others."""
    splits = np.array(table.splits)
    rows = np.flatnonzero((table.targets < 0) & (splits != "test"))
    if len(rows):
        raise DataError(
            f"{len(rows)} pictures to train or validate on have no label",
            ", ".join(printable(table.paths[row]) for row in rows[:3]),
            "label them, or leave them out of the data set",
        )


def _others(rows: Mapping[int, str], number: int) -> npt.NDArray[np.int64]:
    """Those of 0..number-1 that are not in ``rows``."""
    return np.array([row for row in range(number) if row not in rows], dtype=np.int64)


def open_path(data: str, classes: Sequence[str] | None = None, columns: Columns = GUESSED) -> Any:
    """The data set at a path: a folder of pictures per class, an archive of such folders, or a table of pictures.

    Args:
        data: the path.
        classes: names in their order, as a model knows them.
        columns: names of a table's columns that are not guessed.

    Raises:
        ConfigError: a column of ``columns`` is not there, or the data has no columns.
        DataError: it is none of these, or cannot be used.
        ResourceError: the system has no handle or memory left.
    """
    path = Path(data)
    refuse_columns(data, columns)
    if os.path.isdir(data) or not os.path.exists(data):  # unlike Path's, they take a name that no disk can hold
        return sources.folder(path, classes=classes)
    name = path.name.lower()
    if name.endswith(archive.SUFFIXES):
        return archive.archive(path, classes=classes)
    if name.endswith(table_file.SUFFIXES):
        return table_file.table_file(path, classes=classes, columns=columns)
    raise endings.refusal(data)


def refuse_columns(data: str, columns: Columns) -> None:
    """Refuses names of columns for a folder and an archive.

    Raises:
        ConfigError: ``columns`` names some.
    """
    if os.path.isdir(data) or (os.path.exists(data) and data.lower().endswith(archive.SUFFIXES)):
        refuse(columns, printable(data))
