"""Bytes of regular files, bounded; never waits for a pipe or a device."""

from __future__ import annotations

import os
import stat

from clsfit.data.decode import PictureError

MAX_BYTES = 1 << 29
"""A larger picture is refused: none of the accepted formats and sizes needs more."""

_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """A handle to read a regular file by, and the file's state.

    Raises:
        OSError: it cannot be opened.
        PictureError: it is no regular file.
    """
    handle = os.open(path, _OPEN)
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise PictureError("not a regular file")
    except BaseException:
        os.close(handle)
        raise
    return handle, state


def refuse_large(size: int) -> None:
    """Raises PictureError for a picture of more than :data:`MAX_BYTES`."""
    if size > MAX_BYTES:
        raise PictureError(f"larger than {MAX_BYTES >> 20} MiB")


def read_regular(path: str, length: int | None = None) -> bytes:
    """The bytes of a regular file, at most ``length``.

    Raises:
        OSError: it cannot be read.
        PictureError: it is no regular file, or larger than :data:`MAX_BYTES`.
    """
    handle, state = open_regular(path)
    try:
        refuse_large(state.st_size)
        wanted = state.st_size if length is None else min(length, state.st_size)
        data = os.read(handle, wanted)
        while len(data) < wanted and (more := os.read(handle, wanted - len(data))):
            data += more
        return data
    finally:
        os.close(handle)
