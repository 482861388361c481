"""The same picture on both sides of a split: scores on it say little."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data.decode import PictureError
from clsfit.data.table import SPLITS, SampleTable
from clsfit.data.threads import over_rows
from clsfit.errors import printable

_HEAD = 4096  # bytes that tell most pictures of one size apart
_CHUNK = 64
_SHOWN = 3

Key = tuple[int, bytes]


def describe(
    source: Any, table: SampleTable, workers: int, digests: Mapping[int, bytes] | None = None
) -> tuple[str, ...]:
    """One line where a picture of one split is, byte for byte, in an earlier one too (train, val, test).

    Only pictures of equal size in bytes are read, and only their beginnings where these differ. The same
    picture in another encoding is not found.

    Args:
        source: whose pictures ``table`` holds; one without ``sizes_bytes`` and ``head`` is not looked at.
        table: rows with a split each; some of the source's rows may be missing.
        workers: threads; 0 reads in the caller's.
        digests: the source's row -> sha256 of all of its bytes, for those whose is known: of pictures of one
            size in bytes all or none. These are not read.
    """
    if not hasattr(source, "head") or getattr(source, "sizes_bytes", None) is None:
        return ()
    place = {path: row for row, path in enumerate(source.table().paths)}
    origin = np.array([place[path] for path in table.paths], dtype=np.int64)
    sizes = source.sizes_bytes[origin].tolist()
    alike = _across(table, ((row, (size, b"")) for row, size in enumerate(sizes)))
    told = {row: digest for row in alike if (digest := (digests or {}).get(int(origin[row]))) is not None}
    rows: Iterable[int] = alike.keys() - told.keys()
    for length in (_HEAD, None):
        found = _across(table, _digests(source, origin, sizes, rows, length, workers))
        rows = found
    return _line(table, found | _across(table, ((row, (sizes[row], digest)) for row, digest in told.items())))


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
            except (OSError, PictureError):  # whoever uses the picture will say so
                continue
            found.append((row, (sizes[row], hashlib.sha256(data).digest())))

    over_rows(piece, len(chosen), chunk=_CHUNK, workers=workers)
    return sorted(found)


def _line(table: SampleTable, rows: dict[int, Key]) -> tuple[str, ...]:
    groups: dict[Key, list[int]] = defaultdict(list)
    for row, key in rows.items():
        groups[key].append(row)
    pairs: list[tuple[int, int]] = []
    for same in groups.values():
        same.sort(key=lambda row: (SPLITS.index(table.splits[row]), row))
        pairs += [(row, same[0]) for row in same if table.splits[row] != table.splits[same[0]]]
    if not pairs:
        return ()
    named = [f"{_named(table, later)} = {_named(table, first)}" for later, first in sorted(pairs)[:_SHOWN]]
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    what = "1 picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"
    return (f"warning: {what} in two splits, byte for byte, so scores are too good: {', '.join(named)}{more}",)


def _named(table: SampleTable, row: int) -> str:
    return f"{printable(table.paths[row])} ({table.splits[row]})"
