"""The same picture on both sides of a split: scores on it say little."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data import twins
from clsfit.data.canvases import Canvases
from clsfit.data.checks import fault_of
from clsfit.data.decode import PictureError
from clsfit.data.table import SPLITS, SampleTable
from clsfit.data.threads import over_rows
from clsfit.errors import DataError, printable

_HEAD = 4096  # bytes that tell most pictures of one size apart
_CHUNK = 64
_SHOWN = 3

Key = tuple[int, bytes]


Pairs = dict[int, int]
"""Row -> the row of an earlier split that holds the same picture."""


def describe(
    source: Any,
    table: SampleTable,
    workers: int,
    digests: Mapping[int, bytes] | None = None,
    *,
    canvases: Canvases | None = None,
    strict: bool = False,
) -> tuple[str, ...]:
    """A line each for pictures that are in an earlier split too (train, val, test): byte for byte, re-encoded.

    Files are compared where they have one size in bytes, and the rest on canvases.

    Args:
        source: whose pictures ``table`` holds; files of one without ``sizes_bytes`` and ``head`` are not read.
        table: rows with a split each; some of the source's rows may be missing.
        workers: threads; 0 reads in the caller's.
        digests: the source's row -> sha256 of all of its bytes, for those whose is known: of pictures of one
            size in bytes all or none. These are not read.
        canvases: by row of ``table``; None: only files are compared. So it is if canvases are not kept, which
            a line says.
        strict: whether such pictures are refused.

    Raises:
        DataError: ``strict``, and there are such pictures.
    """
    if len(set(table.splits)) < 2:
        return ()
    copies = _pairs(table, _same_bytes(source, table, workers, digests or {}))
    again: Pairs = {}
    unseen: tuple[str, ...] = ()
    if canvases is not None and canvases.tier == "stream":
        unseen = ("note: pictures are not kept, so whether one is in two splits re-encoded was not looked at",)
    elif canvases is not None:
        again = {row: first for row, first in twins.find(table, canvases, workers).items() if row not in copies}
    if strict and (copies or again):
        raise _refusal(table, copies, again)
    return _line(table, copies, "byte for byte") + _line(table, again, "re-encoded") + unseen


def _same_bytes(source: Any, table: SampleTable, workers: int, digests: Mapping[int, bytes]) -> dict[int, Key]:
    """The rows whose bytes another split has too, each with its key; beginnings are read first."""
    if not hasattr(source, "head") or getattr(source, "sizes_bytes", None) is None:
        return {}
    place = {path: row for row, path in enumerate(source.table().paths)}
    origin = np.array([place[path] for path in table.paths], dtype=np.int64)
    sizes = source.sizes_bytes[origin].tolist()
    alike = _across(table, ((row, (size, b"")) for row, size in enumerate(sizes)))
    told = {row: digest for row in alike if (digest := digests.get(int(origin[row]))) is not None}
    rows: Iterable[int] = alike.keys() - told.keys()
    for length in (_HEAD, None):
        found = _across(table, _digests(source, origin, sizes, rows, length, workers))
        rows = found
    return found | _across(table, ((row, (sizes[row], digest)) for row, digest in told.items()))


def _across(table: SampleTable, keys: Iterable[tuple[int, Key]]) -> dict[int, Key]:
    """The rows whose key another split has too, each with its key."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for row, key in keys:
        groups[key].append(row)
    several = {key: rows for key, rows in groups.items() if len({table.splits[row] for row in rows}) > 1}
    return {row: key for key, rows in several.items() for row in rows}


def _digests(
    source: Any,
    origin: npt.NDArray[np.int64],
    sizes: list[int],
    rows: Iterable[int],
    length: int | None,
    workers: int,
) -> list[tuple[int, Key]]:
    """Size and hash of each of ``rows``, over its first ``length`` bytes or all; none of one that has vanished."""
    chosen = sorted(rows)
    found: list[tuple[int, Key]] = []

    def piece(start: int, stop: int) -> None:
        for row in chosen[start:stop]:
            try:
                data = source.head(origin[row], length) if length is not None else source.read(origin[row])
            except (OSError, PictureError) as error:
                fault_of(error)
                continue  # whoever uses the picture will say so
            found.append((row, (sizes[row], hashlib.sha256(data).digest())))

    over_rows(piece, len(chosen), chunk=_CHUNK, workers=workers)
    return sorted(found)


def _pairs(table: SampleTable, rows: dict[int, Key]) -> Pairs:
    groups: dict[Key, list[int]] = defaultdict(list)
    for row, key in rows.items():
        groups[key].append(row)
    pairs: Pairs = {}
    for same in groups.values():
        same.sort(key=lambda row: (SPLITS.index(table.splits[row]), row))
        pairs |= {row: same[0] for row in same if table.splits[row] != table.splits[same[0]]}
    return pairs


def _line(table: SampleTable, pairs: Pairs, how: str) -> tuple[str, ...]:
    if not pairs:
        return ()
    return (f"warning: {_counted(pairs)} in two splits, {how}, so scores are too good: {_listed(table, pairs)}",)


def _refusal(table: SampleTable, copies: Pairs, again: Pairs) -> DataError:
    kinds = (("byte for byte", copies), ("re-encoded", again))
    return DataError(
        f"{_counted(copies | again)} in two splits, so scores would be too good",
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
