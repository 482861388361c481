"""What an earlier survey saw, kept in the cache directory: one file per data set, replaced as a whole.

A file ``KEY.survey`` lies beside the canvases; the key says where the data set is. In it: length of a JSON
object, 8 bytes; the object; the looks, [N] records of :data:`clsfit.data.survey.looks.LOOK`; digests [P, 2, 32]
of the pairs that were compared; whether they are one picture [P], one byte each. All little-endian. A look is
found again by its stamp, a verdict on two pictures by what they hold.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clsfit.data import cache as files
from clsfit.data.decode import made_by
from clsfit.data.survey.duplicates import Found
from clsfit.data.survey.looks import BAD, LOOK, PREPARE, Looks

_MEANING = 2  # to be raised where the same file would get another look, or a pair another verdict


@dataclass(frozen=True, eq=False)
class Memory:
    """What is known already.

    Attributes:
        looks: [N], by row, each with its stamp; of verdict UNKNOWN where the picture as it is was not seen.
        reasons: row -> why it cannot be decoded.
        judged: two digests, the lower first -> whether they are one picture.
        pairs: what :func:`clsfit.data.survey.duplicates.find` gave for just these looks, or None.
    """

    looks: Looks
    reasons: dict[int, str] = field(default_factory=dict)
    judged: dict[bytes, bool] = field(default_factory=dict)
    pairs: list[Found] | None = None


def load(source: Any, place: str) -> Memory:
    """What is known of a source's pictures as they are now; nothing where it has no ``stamp(rows)``.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        place: where it is.
    """
    rows = len(source.table().paths)
    looks = np.zeros(rows, dtype=LOOK)
    if not _has_stamp(source):
        return Memory(looks)
    found = None
    if (data := files.kept(_path(place))) is not None:
        with suppress(ValueError, KeyError, TypeError, AttributeError, IndexError):
            stamp, found = _unpacked(data)
    if found is not None and len(found.looks) == rows and stamp == source.stamp(np.arange(rows)):
        return found
    looks["stamp"] = [np.void(bytes.fromhex(source.stamp(np.array([row])))[:16]) for row in range(rows)]
    if found is None:
        return Memory(looks)
    places = {stamp: row for row, stamp in enumerate(found.looks["stamp"].tolist())}
    reasons: dict[int, str] = {}
    for row, stamp in enumerate(looks["stamp"].tolist()):
        if (before := places.get(stamp)) is not None:
            looks[row] = found.looks[before]
            if before in found.reasons:
                reasons[row] = found.reasons[before]
    return Memory(looks, reasons, found.judged)


def keep(source: Any, place: str, now: Memory) -> None:
    """Remembers what is known ``now``; where that cannot be written, the next survey sees it again.

    A pair's verdict is remembered as long as both pictures are there.
    """
    if not _has_stamp(source):
        return
    digests = set(now.looks["digest"].tolist())
    judged = {pair: same for pair, same in now.judged.items() if {pair[:32], pair[32:]} <= digests}
    stamp = source.stamp(np.arange(len(now.looks)))
    with suppress(OSError):
        files.keep(_path(place), _packed(stamp, replace(now, judged=judged)))


def _has_stamp(source: Any) -> bool:
    return getattr(type(source), "stamp", None) is not None  # of the class: see clsfit.data.canvases


def _path(place: str) -> Path:
    made = {"meaning": _MEANING, "decode": made_by(), "prepare": PREPARE.to_json(), "place": place}
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode())  # JSON escapes what is no UTF-8
    return files.directory() / "canvases" / f"{key.hexdigest()}.survey"


def _packed(stamp: str, memory: Memory) -> bytes:
    about = {
        "stamp": stamp,
        "rows": len(memory.looks),
        "reasons": memory.reasons,
        "judged": len(memory.judged),
        "pairs": memory.pairs,
    }
    text = json.dumps(about).encode()
    judged = sorted(memory.judged)
    parts = [len(text).to_bytes(8, "little"), text, memory.looks.tobytes(), *judged]
    return b"".join([*parts, bytes(memory.judged[pair] for pair in judged)])


def _unpacked(data: bytes) -> tuple[str, Memory]:
    """The inverse of :func:`_packed`; raises all kinds of errors where it is none."""
    start = 8 + int.from_bytes(data[:8], "little")
    about = json.loads(data[8:start])
    rows, number = int(about["rows"]), int(about["judged"])
    end = start + rows * LOOK.itemsize
    if min(rows, number) < 0 or len(data) != end + 65 * number:
        raise ValueError("another length")
    looks = np.frombuffer(data[start:end], dtype=LOOK).copy()
    reasons = {int(row): str(reason) for row, reason in about["reasons"].items()}
    if (looks["verdict"] > BAD).any() or set(reasons) != set(np.flatnonzero(looks["verdict"] == BAD).tolist()):
        raise ValueError("reasons and verdicts differ")
    found = about["pairs"]  # none after an interruption
    pairs: list[Found] | None = None if found is None else [(one, other, kind) for one, other, kind in found]
    if any(kind not in ("exact", "near") or not 0 <= one < other < rows for one, other, kind in pairs or ()):
        raise ValueError("no such pairs")
    asked, said = data[end : end + 64 * number], data[end + 64 * number :]
    judged = {asked[64 * i : 64 * i + 64]: bool(said[i]) for i in range(number)}
    return str(about["stamp"]), Memory(looks, reasons, judged, pairs)
