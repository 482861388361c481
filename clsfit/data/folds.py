"""K parts of a data set, each of which is held out once: stratified, and by whole groups where there are any."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clsfit.data import group_split
from clsfit.data.split import chosen
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError, printable

_SHOWN = 3


def hold_out_fold(table: SampleTable, folds: int, fold: int, seed: int) -> SampleTable:
    """Gives every row a split: ``val`` to those of one part of ``folds``, ``train`` to the others; ``test`` stays.

    The parts are disjoint and hold all pictures, but for those that training cannot do without: a class's only
    picture, and a group with all pictures of a class, are in none. Each part is divided off as a hold-out split of
    what is left would be, so it depends on the seed and on names alone, and has its share of every class.

    Args:
        table: of which no row is in ``val``.
        folds: how many parts, at least 2.
        fold: which of them is held out, from 1.
        seed: any integer.

    Raises:
        ConfigError: the table has validation pictures of its own.
        DataError: there are too few pictures or groups for so many parts.
    """
    splits = np.array(table.splits, dtype="<U5")
    if (splits == "val").any():
        raise ConfigError(
            "--folds has no effect: DATA has validation pictures of its own", "option --folds", "leave it out"
        )
    free = np.flatnonzero(splits != "test")
    parts = _parts(table, free[~_indispensable(table, free)], folds, seed)
    splits[free] = "train"
    splits[parts[fold - 1]] = "val"
    divided = table.with_splits(splits.tolist())
    group_split.check_disjoint(divided)
    _check_classes(table, free, parts)
    return divided


def _parts(table: SampleTable, rows: npt.NDArray[np.int64], folds: int, seed: int) -> list[npt.NDArray[np.int64]]:
    number = len({table.groups[row] for row in rows.tolist()}) if table.groups else len(rows)
    if number < folds:
        raise DataError(
            f"there are {number} {'groups' if table.groups else 'pictures'} to divide into {folds} folds",
            "option --folds",
            "give fewer folds, or more data",
        )
    parts = []
    for left in range(folds, 1, -1):
        held = chosen(table, rows, 1 / left, seed)
        parts.append(held)
        rows = np.setdiff1d(rows, held)
    return [*parts, rows]


def _indispensable(table: SampleTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """[M] bool: the rows without whose unit, a picture or a group, a class would have no pictures."""
    targets = table.targets[rows]
    units = rows
    if table.groups:
        place = {group: i for i, group in enumerate(dict.fromkeys(table.groups))}
        units = np.array([place[table.groups[row]] for row in rows.tolist()], dtype=np.int64)
    kept = [targets == target for target in np.unique(targets[targets >= 0]) if len(set(units[targets == target])) == 1]
    needed = np.unique(np.concatenate([units[of_class] for of_class in kept])) if kept else units[:0]
    return np.isin(units, needed)


def _check_classes(table: SampleTable, free: npt.NDArray[np.int64], parts: list[npt.NDArray[np.int64]]) -> None:
    """Refuses parts of which one holds all pictures of a class: few and large groups may leave no other way."""
    totals = np.bincount(table.targets[free] + 1, minlength=len(table.classes) + 1)
    for number, part in enumerate(parts, 1):
        taken = np.bincount(table.targets[part] + 1, minlength=len(table.classes) + 1)
        if lacking := [name for name, n, t in zip(table.classes, totals[1:], taken[1:], strict=True) if n and n == t]:
            raise DataError(
                f"fold {number} of {len(parts)} would hold all pictures of a class",
                f"classes {', '.join(map(printable, lacking[:_SHOWN]))}{', ...' if len(lacking) > _SHOWN else ''}",
                "give fewer folds, or smaller groups",
            )
