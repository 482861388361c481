"""What is checked before a picture is believed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data.decode import Header, PictureError, peek
from clsfit.data.table import SampleTable
from clsfit.data.threads import Progress, over_rows
from clsfit.errors import DataError, printable
from clsfit.shortage import exhausted

_HEAD = 64 * 1024  # bytes in which a header nearly always lies
_DIGESTED = 4096  # bytes of a file up to which hashing it takes next to no time
_CHUNK = 256
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Scan:
    """What the headers of N pictures say.

    Attributes:
        sizes: [N, 2] int64, height and width after orientation; 0 where bad.
        gray: [N] bool, whether a picture has no colour; False where bad.
        bad: row -> reason, for pictures whose header cannot be read.
        digests: row -> sha256 of the whole file, for small files.
        lost: whether a file could not be read at all.
        whole: whether all headers were read; else those that were not are as bad ones, without a reason.
    """

    sizes: npt.NDArray[np.int64]
    gray: npt.NDArray[np.bool_]
    bad: dict[int, str]
    digests: dict[int, bytes] = field(default_factory=dict)
    lost: bool = False
    whole: bool = True


def scan(
    source: Any,
    table: SampleTable,
    workers: int,
    progress: Progress | None = None,
    enough: Callable[[Header], bool] | None = None,
) -> Scan:
    """Reads the header of every picture.

    Args:
        source: a :class:`clsfit.contracts.Dataset`; one with ``head(row, length)`` is read only as
            far as a header reaches.
        table: its table.
        workers: threads; 0 reads in the caller's.
        progress: told how many more pictures were read.
        enough: shown each header, in any order and by several threads; once it says True no more are read.

    Raises:
        ResourceError: the system has no handle or memory left.
    """
    number = len(table.paths)
    sizes, gray = np.zeros((number, 2), dtype=np.int64), np.zeros(number, dtype=bool)
    bad: dict[int, str] = {}
    digests: dict[int, bytes] = {}
    lost: list[int] = []
    done = threading.Event()

    def piece(start: int, stop: int) -> None:
        for row in range(start, stop):
            if done.is_set():
                return
            try:
                header = header_of(source, row, digests)
            except (PictureError, OSError) as error:
                bad[row] = fault_of(error)
                if isinstance(error, OSError):
                    lost.append(row)
            else:
                sizes[row] = header.height, header.width
                gray[row] = header.gray
                if enough is not None and enough(header):
                    done.set()

    over_rows(piece, number, chunk=_CHUNK, workers=workers, progress=progress)
    return Scan(sizes, gray, dict(sorted(bad.items())), digests, bool(lost), not done.is_set())


def header_of(source: Any, row: int, digests: dict[int, bytes] | None = None) -> Header:
    """The header of picture ``row``.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        row: of its table.
        digests: takes the sha256 of the file, where it is small.

    Raises:
        PictureError: it has none that is accepted.
        OSError: the file cannot be read.
    """
    head = getattr(source, "head", None)
    if head is not None:
        data = head(row, _HEAD)
        if digests is not None and len(data) <= _DIGESTED:
            digests[row] = hashlib.sha256(data).digest()
        try:
            return peek(data)
        except PictureError:
            if len(data) < _HEAD:  # that was the whole file
                raise
    picture = source.read(row)
    if isinstance(picture, np.ndarray):
        gray = picture.ndim == 2 or picture.shape[2] == 1
        return Header(int(picture.shape[0]), int(picture.shape[1]), gray)
    return peek(picture)


def common_size(found: Scan) -> tuple[int, int] | None:
    """(height, width) of all readable pictures, or None where they differ or there are none."""
    good = found.sizes[found.sizes[:, 0] > 0]
    if not len(good) or (good != good[0]).any():
        return None
    return int(good[0, 0]), int(good[0, 1])


def reason_of(error: PictureError | OSError) -> str:
    """Why a file could not be read, in one line without its path."""
    if isinstance(error, OSError):
        return printable(error.strerror or str(error)).lower()
    return str(error)


def fault_of(error: PictureError | OSError) -> str:
    """What is wrong with a picture that could not be read, in one line without its path.

    Raises:
        ResourceError: nothing is wrong with it: the system has no handle or memory left.
    """
    if (missing := exhausted(error)) is not None:
        raise missing from error
    return reason_of(error)


def refuse(
    bad: Mapping[int, str],
    paths: Sequence[str],
    remedy: str = "repair or remove what is named, or leave it out with --skip-bad",
) -> DataError:
    """The error for pictures that cannot be read: up to three by name, and how many there are.

    Args:
        bad: row -> reason, at least one.
        paths: the table's paths.
        remedy: what can be done here.
    """
    rows = sorted(bad)
    named = ", ".join(f"{printable(paths[row])} ({bad[row]})" for row in rows[:_SHOWN])
    more = f", and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    what = "a picture cannot be read" if len(rows) == 1 else f"{len(rows)} pictures cannot be read"
    return DataError(what, named + more, remedy)
