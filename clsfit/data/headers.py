"""What the headers of a data set's pictures say: read as far as it matters, and remembered in the cache directory.

A remembered scan is a file ``KEY.headers`` beside the canvases. The key changes with the name, size and time
of any file. In the file: length of a JSON object, 8 bytes; the object; sizes [N, 2] int32; whether gray [N],
one byte each; whether there is a digest [N], one byte each; the digests, 32 bytes each. All little-endian.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data import cache as files
from clsfit.data.checks import Scan, scan
from clsfit.data.decode import Header, made_by
from clsfit.data.table import SampleTable

_WORTH = 1000  # fewer headers are read sooner than a file is brought to the disk
_MEANING = 1  # to be raised where the same file would get another header


def look(
    source: Any, table: SampleTable, workers: int, *, channels: int | None = None, cache: str, skip_bad: bool
) -> Scan:
    """The headers of all pictures, as an earlier command found them, else read now.

    Reading ends early where the pictures turn out to be of several sizes and not all gray: no other header can
    change that, and whatever is wrong with one is found when the picture is decoded.

    Only what a source with ``stamp(rows)`` holds is remembered, and not with ``cache="off"``. A file of the cache
    that is damaged, or cannot be written, is as none.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        table: its table, all rows.
        workers: threads that read; 0 reads in the caller's.
        channels: as asked for; None: they are as the pictures are.
        cache: ``--cache``.
        skip_bad: whether bad pictures are left out; without it a scan that found some is not remembered,
            since they will be repaired.
    """
    key = _key(source, len(table)) if cache != "off" else None
    if key is None:
        return scan(source, table, workers, enough=_Mixed(channels))
    path = files.directory() / "canvases" / f"{key}.headers"
    found = load(path, key, len(table))
    if found is None:
        found = scan(source, table, workers, enough=_Mixed(channels))
        if found.whole and (not found.bad or (skip_bad and not found.lost)):
            with suppress(OSError):
                files.keep(path, _packed(found, key))
    return found


class _Mixed:
    """Whether the headers shown are of several sizes and, where that matters, not all gray."""

    def __init__(self, channels: int | None) -> None:
        self._sizes: set[tuple[int, int]] = set()
        self._coloured = channels is not None

    def __call__(self, header: Header) -> bool:
        self._sizes.add((header.height, header.width))
        self._coloured = self._coloured or not header.gray
        return self._coloured and len(self._sizes) > 1


def load(path: Path, key: str, rows: int) -> Scan | None:
    """The scan of ``rows`` pictures in the file at ``path``, if it is whole and was made for ``key``, else None."""
    data = files.kept(path)
    if data is None:
        return None
    try:
        return _unpacked(data, key, rows)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _key(source: Any, rows: int) -> str | None:
    """What a scan is found by; None where it is not to be remembered."""
    stamp = getattr(type(source), "stamp", None)  # of the class: see clsfit.data.canvases
    if stamp is None or rows < _WORTH:
        return None
    text = f"headers {_MEANING} {made_by()} {stamp(source, np.arange(rows))}"
    return hashlib.sha256(text.encode()).hexdigest()


def _packed(found: Scan, key: str) -> bytes:
    about = json.dumps({"key": key, "rows": len(found.sizes), "bad": found.bad}).encode()
    known = np.zeros(len(found.sizes), dtype=np.uint8)
    rows = sorted(found.digests)
    known[rows] = 1
    arrays = (found.sizes.astype("<i4"), found.gray.astype(np.uint8), known)
    return b"".join(
        [len(about).to_bytes(8, "little"), about, *(a.tobytes() for a in arrays), *(found.digests[r] for r in rows)]
    )


def _unpacked(data: bytes, key: str, rows: int) -> Scan | None:
    start = 8 + int.from_bytes(data[:8], "little")
    about = json.loads(data[8:start])
    if about["key"] != key or about["rows"] != rows:
        return None
    sizes = np.frombuffer(data, dtype="<i4", count=2 * rows, offset=start).reshape(rows, 2).astype(np.int64)
    gray, known = np.frombuffer(data, dtype=np.uint8, count=2 * rows, offset=start + 8 * rows).reshape(2, rows)
    digests = data[start + 10 * rows :]
    places: npt.NDArray[np.int64] = np.flatnonzero(known)
    bad = dict(sorted((int(row), str(reason)) for row, reason in about["bad"].items()))
    if len(digests) != 32 * len(places) or (sizes < 0).any() or set(bad) != set(np.flatnonzero(sizes[:, 0] == 0)):
        return None
    told = {row: digests[32 * place : 32 * place + 32] for place, row in enumerate(places.tolist())}
    return Scan(sizes, gray.astype(bool), bad, told)
