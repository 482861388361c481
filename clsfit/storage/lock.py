"""One writer per run directory."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from clsfit.errors import ResourceError, printable
from clsfit.storage import durable

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: set[Lock] = set()


class Lock:
    """An exclusive lock on a file, held by this process until :meth:`release` or its end.

    The system drops it with the process, however that ends; neither programs that it starts nor
    processes that it forks keep it alive.

    Args:
        path: the lock file, made if missing and never deleted: who deletes a lock file that another
            process has just opened lets two of them in.

    Raises:
        ResourceError: another process holds it (named by its pid), or the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        if fcntl is None:
            raise ResourceError("run directories need file locks, which this system does not have", "", "use WSL")
        with durable.resource_errors(path, doing="locked"):
            handle = durable.open_log(path)
            try:
                _take(handle, path)
            except BaseException:
                os.close(handle)
                raise
        self._handle = handle
        _held.add(self)

    def release(self) -> None:
        """Lets others in; fine if that was done already."""
        _held.discard(self)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _take(handle: int, path: Path) -> None:
    assert fcntl is not None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        owner = _owner(handle)
        who = "this process" if owner == str(os.getpid()) else f"process {owner}" if owner else "a process"
        raise ResourceError(
            f"{who} is writing this run already",
            printable(str(path.parent)),
            "wait until it has ended, or choose another -o",
        ) from None
    os.ftruncate(handle, 0)
    durable.write_all(handle, f"{os.getpid()}\n".encode())


def _owner(handle: int) -> str:
    """The pid in a lock file; empty if its owner has not written it yet."""
    os.lseek(handle, 0, os.SEEK_SET)
    text = os.read(handle, 32).decode("ascii", "replace").strip()
    return text if text.isdecimal() else ""


def _forget_in_child() -> None:
    """A forked child shares the open lock file: were it left open there, the lock would outlive us."""
    for lock in list(_held):
        with suppress(OSError):
            lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
