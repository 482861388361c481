"""The hold-out split: stratified, a function of seed and names only, recorded and re-used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from clsfit.data import group_split
from clsfit.data.draws import draws
from clsfit.data.table import SPLITS, SampleTable
from clsfit.errors import CheckpointError, DataError, printable

_SHOWN = 2


def hold_out(table: SampleTable, fraction: float, seed: int) -> SampleTable:
    """Gives every row a split; pictures for validation are taken from the others where there are none.

    Rows that have a split keep it, but where no row is in ``val``, validation is taken from ``train``.
    A class gets ``fraction`` of its pictures, rounded down or up so that the whole is as near to
    ``fraction`` as it can be; a class never loses its last picture for training. Which ones is
    decided by a hash of seed and path, so that neither order nor other pictures matter to the draw.

    A table with groups is divided by whole groups instead: :func:`clsfit.data.group_split.choose`.

    Args:
        table: with any splits.
        fraction: of the pictures to be divided, 0 <= fraction < 1; 0 takes none.
        seed: any integer.

    Raises:
        DataError: no pictures are left to train on; the groups cannot be divided, or were divided before.
    """
    group_split.check_disjoint(table)
    splits = np.array(table.splits, dtype="<U5")
    free = splits == ""
    if not (splits == "val").any():
        free |= splits == "train"
        held = chosen(table, np.flatnonzero(free), fraction, seed)
        splits[free] = "train"
        splits[held] = "val"
    else:
        splits[free] = "train"
    if not (splits == "train").any():
        present = ", ".join(name for name in SPLITS if (splits == name).any())
        raise DataError("there are no pictures to train on", f"the data set has only: {present}")
    divided = table.with_splits(splits.tolist())
    group_split.check_disjoint(divided)  # rows without a split may be of a group that has one
    return divided


def to_rows(table: SampleTable) -> list[dict[str, str]]:
    """The rows of split.csv: ``path``, ``label``, ``group``, ``split``."""
    groups = table.groups or ("",) * len(table)
    columns = zip(table.paths, table.labels(), groups, table.splits, strict=True)
    return [{"path": path, "label": label, "group": group, "split": split} for path, label, group, split in columns]


def from_rows(rows: Sequence[Mapping[str, str]], classes: Sequence[str] | None = None) -> SampleTable:
    """The inverse of :func:`to_rows`.

    Args:
        rows: of split.csv.
        classes: the class names in their order; None sorts the labels.

    Raises:
        CheckpointError: a row lacks a column, or has a label that is none of ``classes``.
        DataError: the rows are no table.
    """
    try:
        labels = [row["label"] for row in rows]
        names = tuple(sorted(set(labels) - {""}) if classes is None else classes)
        place = {"": -1} | {name: i for i, name in enumerate(names)}
        groups = tuple(row["group"] for row in rows)
        return SampleTable(
            paths=tuple(row["path"] for row in rows),
            classes=names,
            targets=np.array([place[label] for label in labels], dtype=np.int64),
            splits=tuple(row["split"] for row in rows),
            groups=groups if any(groups) else (),
        )
    except KeyError as error:
        raise CheckpointError(f"the recorded split has no {printable(str(error))}", "split.csv") from error


def apply_recorded(
    table: SampleTable,
    recorded: Sequence[Mapping[str, str]],
    *,
    accept: bool = False,
    left_out: Collection[str] = (),
) -> SampleTable:
    """``table`` with the splits of a run's split.csv.

    Args:
        table: the data set as it is now.
        recorded: rows of split.csv.
        accept: whether the data may differ; a picture that was not recorded then has its group's split, or none.
        left_out: paths of pictures that the run did not record, since it could not read them; they have none.

    Raises:
        CheckpointError: pictures came, went or changed their class or group since, and ``accept`` is False.
    """
    before = from_rows(recorded)
    was = dict(zip(before.paths, zip(before.labels(), before.splits, strict=True), strict=True))
    now = dict(zip(table.paths, table.labels(), strict=True))
    if not accept:
        changes = {
            "new": [path for path in now if path not in was and path not in left_out],
            "missing": [path for path in was if path not in now],
            "of another class": [path for path, label in now.items() if path in was and was[path][0] != label],
        }
        if table.groups and before.groups:
            group = dict(zip(before.paths, before.groups, strict=True))
            pairs = zip(table.paths, table.groups, strict=True)
            changes["of another group"] = [path for path, name in pairs if group.get(path, name) != name]
        told = [f"{len(paths)} {kind} ({_shown(paths)})" for kind, paths in changes.items() if paths]
        if told:
            raise CheckpointError(
                "the data set is not the one that the run recorded",
                "pictures: " + "; ".join(told),
                "bring the data back as it was, or accept the difference with --accept-changes",
            )
    side = dict(zip(before.groups, before.splits, strict=False))  # without groups it is empty
    side_of = dict.fromkeys(left_out, "") | {path: split for path, (_, split) in was.items()}
    groups = table.groups or ("",) * len(table)
    return table.with_splits(
        [side_of.get(path, side.get(group, "")) for path, group in zip(table.paths, groups, strict=True)]
    )


def chosen(table: SampleTable, rows: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """Those of ``rows`` to hold out: ``fraction`` of each class, or whole groups; as :func:`hold_out`."""
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1), not {fraction}")
    if fraction == 0 or not len(rows):
        return rows[:0]
    if table.groups:
        groups = [table.groups[row] for row in rows.tolist()]
        return rows[group_split.choose(groups, table.targets[rows], fraction, seed)]
    drawn = draws((table.paths[row] for row in rows.tolist()), seed)
    order = np.lexsort((rows, drawn, table.targets[rows]))  # by class, then by draw
    sizes = np.bincount(table.targets[rows] + 1)
    taken = _quotas(sizes, fraction)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.concatenate([rows[order[start : start + take]] for start, take in zip(starts, taken, strict=True)])


def _quotas(sizes: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.int64]:
    """How many of each class to hold out: the exact share, rounded down or up by largest remainder."""
    exact = sizes * fraction
    room = np.where(sizes > 1, sizes - 1, 0)
    taken: npt.NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), room)
    wanted = max(round(float(exact.sum())), 1)
    remainder = exact - taken
    for place in np.argsort(-remainder, kind="stable"):
        if taken.sum() >= wanted:
            break
        if taken[place] < room[place] and remainder[place] > 0:
            taken[place] += 1
    return taken


def _shown(paths: Sequence[str]) -> str:
    named = ", ".join(printable(path) for path in paths[:_SHOWN])
    return named + (", ..." if len(paths) > _SHOWN else "")
