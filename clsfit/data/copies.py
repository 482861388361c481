"""Pictures that are in a data set more than once, byte for byte.

Read again are only those of which everything that is known already is the same: the size in bytes, and how the
picture looks on its canvas.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data.checks import fault_of
from clsfit.data.decode import PictureError
from clsfit.data.table import SampleTable
from clsfit.data.threads import over_rows

_HEAD = 4096  # bytes that tell most pictures of one size apart
_CHUNK = 64

Groups = list[list[int]]
"""Rows that hold one picture each, ascending; at least two."""


def find(
    source: Any,
    table: SampleTable,
    workers: int,
    digests: Mapping[int, bytes],
    signatures: npt.NDArray[np.float32] | None,
) -> Groups:
    """The rows of ``table`` that hold the same bytes.

    Args:
        source: whose pictures ``table`` holds.
        table: some of the source's rows may be missing.
        workers: threads that read; 0 reads in the caller's.
        digests: the source's row -> sha256 of all of its bytes, where it is known: these are not read.
        signatures: [N, 16] of the canvases, by row of ``table``. None: only files are compared, and only rows of
            two splits, since many pictures have one size in bytes.
    """
    if signatures is None and not (hasattr(source, "head") and getattr(source, "sizes_bytes", None) is not None):
        return []
    place = {path: row for row, path in enumerate(source.table().paths)}
    origin = np.array([place[path] for path in table.paths], dtype=np.int64)
    given = getattr(source, "sizes_bytes", None)
    sizes = np.zeros(len(table), dtype=np.int64) if given is None else np.asarray(given)[origin]
    told = {row: digests[at] for row, at in enumerate(origin.tolist()) if at in digests}
    pieces = _grouped((row, (size,)) for row, size in enumerate(sizes.tolist()))
    known = {row for rows in pieces if all(row in told for row in rows) for row in rows}
    found = _grouped((row, (int(sizes[row]), told[row])) for row in known)
    rest = [rows for rows in pieces if rows[0] not in known]
    if signatures is None:
        splits = table.splits
        rest = _across(rest, splits)
        found = _across(found, splits)
    else:
        seen = [signature.tobytes() for signature in signatures]
        rest = _grouped((row, (int(sizes[row]), seen[row])) for rows in rest for row in rows)
    for length in (_HEAD, None) if hasattr(source, "head") else (None,):
        digested = _digests(source, origin, [row for rows in rest for row in rows], length, workers)
        rest = _grouped((row, (int(sizes[row]), digest)) for row, digest in digested)
        if signatures is None:
            rest = _across(rest, table.splits)
    return sorted(found + rest)


def digest_of(picture: bytes | npt.NDArray[np.uint8]) -> bytes:
    """sha256 of a file's bytes, or of pixels and their shape."""
    if not isinstance(picture, np.ndarray):
        return hashlib.sha256(picture).digest()
    return hashlib.sha256(f"{picture.dtype}{picture.shape}".encode() + picture.tobytes()).digest()


def _grouped(keys: Iterable[tuple[int, tuple[object, ...]]]) -> Groups:
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, key in keys:
        groups[key].append(row)
    return [sorted(rows) for rows in groups.values() if len(rows) > 1]


def _across(groups: Groups, splits: Sequence[str]) -> Groups:
    return [rows for rows in groups if len({splits[row] for row in rows}) > 1]


def _digests(
    source: Any, origin: npt.NDArray[np.int64], rows: Iterable[int], length: int | None, workers: int
) -> list[tuple[int, bytes]]:
    """Hash of each of ``rows``, over its first ``length`` bytes or all; none of one that has vanished."""
    chosen = sorted(rows)
    found: list[tuple[int, bytes]] = []

    def piece(start: int, stop: int) -> None:
        for row in chosen[start:stop]:
            try:
                data = source.head(origin[row], length) if length is not None else source.read(origin[row])
            except (OSError, PictureError) as error:
                fault_of(error)
                continue  # whoever uses the picture will say so
            found.append((row, digest_of(data)))

    over_rows(piece, len(chosen), chunk=_CHUNK, workers=workers)
    return sorted(found)
