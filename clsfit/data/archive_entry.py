"""What an archive's list says of one member, and how its bytes are read where they lie."""

from __future__ import annotations

import os
from typing import NamedTuple

from clsfit.data.decode import PictureError
from clsfit.errors import DataError, printable

CUT_SHORT = "the archive is cut short"


class Entry(NamedTuple):
    """A member of an archive.

    Attributes:
        path: as the archive has it, with ``/``.
        size: bytes, unpacked, as the archive declares it.
        offset: where it begins in the archive: its bytes in a tar, the header before them in a zip.
        packed: bytes in the archive.
        method: how they are packed: 0 not at all, 8 deflated.
        crc: CRC-32 of the unpacked bytes; 0 where the archive has none.
        folder: whether it is a folder.
        fault: why it may not be used; empty if it may.
    """

    path: str
    size: int
    offset: int
    packed: int
    method: int = 0
    crc: int = 0
    folder: bool = False
    fault: str = ""


def damaged(name: str, why: str, at: str = "") -> DataError:
    """The error for an archive whose list cannot be believed.

    Args:
        name: the archive.
        why: what is wrong with it.
        at: the member at which that shows.
    """
    where = f"{printable(name)}, at {printable(at)}" if at else printable(name)
    return DataError(f"the archive is damaged: {why}", where, "copy or make it anew")


def compressed(name: str) -> DataError:
    """The error for a compressed tar: to find one picture in it, all before it would have to be uncompressed."""
    return DataError("a compressed tar cannot be read in place", printable(name), "uncompress it, or make it a zip")


def read_at(handle: int, length: int, offset: int) -> bytes:
    """``length`` bytes from ``offset`` on, fewer where the file ends; several threads may read by one handle.

    Raises:
        OSError: the file cannot be read.
    """
    data = os.pread(handle, length, offset)
    while len(data) < length and (more := os.pread(handle, length - len(data), offset + len(data))):
        data += more
    return data


def read_all_at(handle: int, length: int, offset: int) -> bytes:
    """``length`` bytes from ``offset`` on.

    Raises:
        OSError: the file cannot be read.
        PictureError: the file ends before.
    """
    data = read_at(handle, length, offset)
    if len(data) < length:
        raise PictureError(CUT_SHORT)
    return data
