"""What is seen of each picture: read whole, decoded whole, once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data import likeness
from clsfit.data.checks import fault_of
from clsfit.data.copies import digest_of
from clsfit.data.decode import Header, PictureError, peek
from clsfit.data.prepare import Prepare
from clsfit.data.threads import Progress, over_rows

PREPARE = Prepare(3, 256)
"""How canvases to be compared are made: from a short side of 256 pixels on, the finest comparison is made."""

UNKNOWN, GOOD, BAD = 0, 1, 2
"""Of a look: the file could not be read at all; it is a picture; it cannot be decoded."""

LOOK = np.dtype(
    [
        ("stamp", "V16"),  # of the file's path, size and time; zeros where the source has none
        ("digest", "V32"),  # sha256 of the bytes
        ("verdict", "u1"),
        ("flat", "?"),
        ("height", "<i4"),  # upright
        ("width", "<i4"),
        ("format", "S8"),
        ("mode", "S8"),
        ("signature", "<f4", (16,)),
        ("grey", "u1", (64,)),
    ]
)
"""What is kept of a picture, 212 bytes."""

Looks = npt.NDArray[np.void]
"""[N] records of :data:`LOOK`."""

_CHUNK = 32


def look_at(
    source: Any, looks: Looks, reasons: dict[int, str], workers: int, progress: Progress | None
) -> dict[int, str]:
    """Looks at every picture whose verdict is UNKNOWN.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        looks: [N], filled in; what an interruption leaves of it holds.
        reasons: takes row -> reason where the bytes are no picture.
        workers: threads; 0 reads in the caller's.
        progress: told how many more pictures are done.

    Returns:
        Row -> reason where there were no bytes, which may be otherwise next time.

    Raises:
        ResourceError: the system has no handle or memory left.
    """
    rows = np.flatnonzero(looks["verdict"] == UNKNOWN).tolist()
    lost: dict[int, str] = {}
    if progress is not None and len(rows) < len(looks):
        progress(len(looks) - len(rows))

    def piece(start: int, stop: int) -> None:
        for row in rows[start:stop]:
            try:
                picture = source.read(row)
            except (PictureError, OSError) as error:
                lost[row] = fault_of(error)
                continue
            try:
                _fill(looks[row], picture)
                looks[row]["verdict"] = GOOD
            except PictureError as error:
                reasons[row] = fault_of(error)
                looks[row]["verdict"] = BAD

    over_rows(piece, len(rows), chunk=_CHUNK, workers=workers, progress=progress)
    return lost


def _fill(look: Any, picture: bytes | npt.NDArray[np.uint8]) -> None:
    """Writes what is seen into a record.

    Raises:
        PictureError: it is no picture, or a torn one.
    """
    look["digest"] = np.void(digest_of(picture))
    canvas = PREPARE(picture)  # first: it checks what is no file
    look["signature"], look["flat"] = likeness.signature(canvas)
    look["grey"] = likeness.grey(canvas)
    header = _header(picture)
    look["height"], look["width"] = header.height, header.width
    look["format"], look["mode"] = header.format.encode(), header.mode.encode()


def _header(picture: bytes | npt.NDArray[np.uint8]) -> Header:
    if not isinstance(picture, np.ndarray):
        return peek(picture)
    gray = picture.ndim == 2 or picture.shape[2:] == (1,)
    height, width = picture.shape[:2]
    return Header(height, width, gray, "", "L" if gray else "RGB")
