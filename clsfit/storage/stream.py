"""Outputs that are no files: ``/dev/null``, ``/dev/stdout``, a pipe. They are written straight to, never replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clsfit.errors import ResourceError, printable
from clsfit.shortage import remedy_of
from clsfit.storage import durable

_DEVICES = ("/dev/", "/proc/")


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a character device or a pipe, so that there is nothing to be durable about.

    A link counts only where the system keeps it, as ``/dev/stdout`` and the ``/dev/fd/63`` of a shell's
    ``>(command)``: nobody else can have put it there. Standard output is a stream even where it is a file.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if path.is_symlink() and not os.path.join(os.path.realpath(path.parent), "").startswith(_DEVICES):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or is_redirected(path)


def is_redirected(path: Path) -> bool:
    """Whether ``path`` is a link to standard output, and that a file. Opened anew, it would be written over.

    It is open already, so nobody's rights over the file matter.
    """
    with suppress(OSError):
        return path.is_symlink() and os.path.samestat(path.stat(), os.fstat(1)) and path.is_file()
    return False


def write_stream(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes ``pieces`` to a stream one by one, as they come.

    Raises:
        BrokenPipeError: its reader has left.
        ResourceError: it could not be written.
    """
    with durable.resource_errors(path):
        if is_redirected(path):
            handle = os.dup(1)
        else:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        for piece in pieces:
            _put(handle, piece, path)
    finally:
        os.close(handle)


def _put(handle: int, piece: bytes, path: Path) -> None:
    try:
        durable.write_all(handle, piece)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ResourceError(f"it could not be written: {reason}", printable(str(path)), remedy_of(error)) from error
