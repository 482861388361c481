"""The same picture on both sides of a split: scores on it say little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clsfit.data import copies, twins
from clsfit.data.canvases import Canvases
from clsfit.data.table import SPLITS, SampleTable
from clsfit.errors import DataError, printable

_SHOWN = 3

Pairs = dict[int, int]
"""Row -> the row of an earlier split that holds the same picture."""


@dataclass(frozen=True)
class Doubles:
    """Pictures that are there more than once.

    Attributes:
        lines: what there is to say of those in two splits.
        groups: rows that hold the same bytes.
        whole: whether ``groups`` has those within a split too.
    """

    lines: tuple[str, ...]
    groups: copies.Groups
    whole: bool


def look(
    source: Any,
    table: SampleTable,
    workers: int,
    digests: Mapping[int, bytes] | None = None,
    *,
    canvases: Canvases | None = None,
    strict: bool = False,
) -> Doubles:
    """Looks for pictures that are in an earlier split too (train, val, test): byte for byte, re-encoded.

    Files are compared where they have one size in bytes, and the rest on canvases.

    Args:
        source: whose pictures ``table`` holds.
        table: rows with a split each; some of the source's rows may be missing.
        workers: threads; 0 reads in the caller's.
        digests: the source's row -> sha256 of all of its bytes, where it is known. These are not read.
        canvases: by row of ``table``; None: only files are compared. So it is if canvases are not kept, which
            a line says. Of these, only files of two splits are compared.
        strict: whether pictures in two splits are refused.

    Raises:
        DataError: ``strict``, and there are such pictures.
    """
    kept = canvases if canvases is not None and canvases.tier != "stream" else None
    seen = twins.signatures(kept, workers) if kept is not None else None
    groups = copies.find(source, table, workers, digests or {}, seen[0] if seen else None)
    if len(set(table.splits)) < 2:
        return Doubles((), groups, kept is not None)
    same = _pairs(table, groups)
    again: Pairs = {}
    unseen: tuple[str, ...] = ()
    if kept is not None:
        again = {row: first for row, first in twins.find(table, kept, workers, seen).items() if row not in same}
    elif canvases is not None:
        unseen = ("note: pictures are not kept, so whether one is in two splits re-encoded was not looked at",)
    if strict and (same or again):
        raise _refusal(table, same, again)
    lines = _line(table, same, "byte for byte") + _line(table, again, "re-encoded") + unseen
    return Doubles(lines, groups, kept is not None)


def _pairs(table: SampleTable, groups: copies.Groups) -> Pairs:
    pairs: Pairs = {}
    for rows in groups:
        same = sorted(rows, key=lambda row: (SPLITS.index(table.splits[row]), row))
        pairs |= {row: same[0] for row in same if table.splits[row] != table.splits[same[0]]}
    return pairs


def _line(table: SampleTable, pairs: Pairs, how: str) -> tuple[str, ...]:
    if not pairs:
        return ()
    return (f"warning: {_counted(pairs)} in two splits, {how}, so scores are too good: {_listed(table, pairs)}",)


def _refusal(table: SampleTable, same: Pairs, again: Pairs) -> DataError:
    kinds = (("byte for byte", same), ("re-encoded", again))
    return DataError(
        f"{_counted(same | again)} in two splits, so scores would be too good",
        "; ".join(f"{how}: {_listed(table, pairs)}" for how, pairs in kinds if pairs),
        "take them out of one of the splits, or leave out --strict",
    )


def _counted(pairs: Pairs) -> str:
    return "1 picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"


def _listed(table: SampleTable, pairs: Pairs) -> str:
    named = [f"{_named(table, later)} = {_named(table, first)}" for later, first in sorted(pairs.items())[:_SHOWN]]
    return ", ".join(named) + (f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")


def _named(table: SampleTable, row: int) -> str:
    return f"{printable(table.paths[row])} ({table.splits[row]})"
