"""Files that are there whole or not at all, whatever happens meanwhile.

:func:`write_file` is the recipe: a temporary file beside the target (``O_EXCL``, mode 0600), its
data fsynced, renamed over the target, the directory fsynced. When it returns, the file survives a
power cut; when it does not return, the old file is still there. A target that is a symbolic link or
no regular file is refused. Every ``OSError`` becomes a :class:`~clsfit.errors.ResourceError`.

Failpoints, for tests. The environment variable ``CLSFIT_FAILPOINT=NAME:ACTION`` makes the step NAME
fail each time it is reached, ``NAME:ACTION@N`` only the N-th time in this process. Actions: ``kill``
(SIGKILL to oneself), ``stop`` (SIGSTOP to oneself), ``enospc``, ``eio`` (the system call fails). A
failpoint lies *before* the step it is named after. The names, in the order in which they are reached:

=============================================================  =========================================
``config:*  environment:*  split:*  summary:*``                files of the run directory
``latest:*``                                                   the hint beside the checkpoints
``model:*``                                                    ``best.safetensors``, ``last.safetensors``
``predictions:*``                                              the output of ``predict``, ``evaluate``
``import:*``                                                   the output of ``import``
``survey:*  table:*  sheet:*``                                 the output of ``data check``, ``split``, ``preview``
where ``*`` is ``open write fsync rename sync-dir``            the steps of :func:`write_file`
``checkpoint:open``                                            making the temporary directory
``checkpoint:write checkpoint:fsync``                          once for each file
``checkpoint:manifest checkpoint:manifest-fsync``              the manifest
``checkpoint:sync-dir checkpoint:rename``                      the temporary directory
``checkpoint:replace checkpoint:sync-replaced``                before that, where the step exists already
``checkpoint:sync-parent``                                     after the rename; then ``latest:*``
``checkpoint:remove``                                          once for each checkpoint that is deleted
``checkpoint:set-aside``                                       once for each damaged one that a resume skips
``log:write log:fsync log:truncate``                           ``log.txt``
``metrics:write metrics:fsync metrics:truncate``               ``metrics.jsonl``
``clear:remove``                                               once for each entry of a cleared run
=============================================================  =========================================
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import stat
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsfit.errors import ConfigError, ResourceError, printable
from clsfit.shortage import remedy_of

if sys.platform == "darwin":
    import fcntl

TEMPORARY = ".tmp-"
"""How every temporary name begins; what is left of it by a kill is swept later."""

_CHUNK = 1 << 26  # bytes in one write call: some systems refuse 2 GiB
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_PRIVATE = _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_hits: Counter[str] = Counter()
_umask_guard = threading.Lock()


def failpoint(name: str) -> None:
    """Fails here if ``CLSFIT_FAILPOINT`` says so; see the head of this module.

    Raises:
        OSError: for the actions ``enospc`` and ``eio``.
        ConfigError: the variable is malformed; a failpoint that never fires would make its test useless.
    """
    asked = os.environ.get("CLSFIT_FAILPOINT")
    if not asked:
        return
    wanted, _, what = asked.rpartition(":")
    action, _, number = what.partition("@")
    if not wanted or action not in {"kill", "stop", "enospc", "eio"} or not (number.isdecimal() or "@" not in what):
        raise ConfigError(f"no such failpoint: {printable(asked)}", "environment CLSFIT_FAILPOINT", "NAME:ACTION[@N]")
    if name != wanted:
        return
    _hits[name] += 1
    if number and _hits[name] != int(number):
        return
    if action in {"kill", "stop"}:
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    else:
        code = errno.ENOSPC if action == "enospc" else errno.EIO
        raise OSError(code, os.strerror(code))


def write_file(path: str | Path, data: bytes | memoryview | Iterable[bytes | memoryview], *, failpoint: str) -> None:
    """Writes a whole file durably, replacing the one that is there.

    Args:
        path: the target; its directory must exist. The new file's mode is that of any new file (umask).
        data: the content, or its pieces in order.
        failpoint: what the failpoints of this write are named after.

    Raises:
        ResourceError: it could not be written; what was there before is unchanged, unless only the last
            step failed (then the file is new, but may not survive a power cut).
    """
    path = Path(path)
    pieces = [data] if isinstance(data, bytes | memoryview) else data
    size = sum(map(len, pieces)) if isinstance(pieces, list) else None
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    with resource_errors(path, size):
        _refuse_special(path)
        try:
            _at(failpoint, "open")
            create_file(temporary, pieces, write=f"{failpoint}:write", fsync=f"{failpoint}:fsync")
            _at(failpoint, "rename")
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _at(failpoint, "sync-dir")
        sync_directory(path.parent)


def create_file(path: Path, pieces: Iterable[bytes | memoryview], *, write: str, fsync: str) -> None:
    """Makes a new file, never an existing one, and fsyncs it; its directory is the caller's matter.

    Args:
        write: failpoint before the data, ``fsync``: after it.

    Raises:
        OSError: as the system says; a part of the file may be there.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PRIVATE, 0o600)
    try:
        failpoint(write)
        for piece in pieces:
            write_all(handle, piece)
        if hasattr(os, "fchmod"):
            os.fchmod(handle, 0o666 & ~umask())
        failpoint(fsync)
        sync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Every byte of ``data``, however little the system takes at a time."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(handle, view[:_CHUNK]) :]


def sync(handle: int) -> None:
    """Waits until the disk, not only the system, has the file's data."""
    if sys.platform == "darwin":  # there fsync leaves the data in the drive's own cache
        try:
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise
    os.fsync(handle)


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable: new, renamed and deleted ones. Windows has no such thing."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def make_directory(path: Path) -> None:
    """Makes a directory and the missing ones above it, durably; fine if it exists.

    Raises:
        OSError: as the system says, also where a file is in the way.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(path))
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Removes a file, if it is there.

    Raises:
        ResourceError: it could not be removed.
    """
    with resource_errors(path, doing="removed"), suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def open_log(path: Path) -> int:
    """A handle for appending to a regular file, made if missing, never through a symbolic link.

    Raises:
        OSError: as the system says.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _PRIVATE, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return handle


def open_regular(path: Path) -> int:
    """A handle for reading a regular file; a pipe or a device neither blocks nor is read.

    Raises:
        OSError: as the system says.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (_PRIVATE & ~_NO_FOLLOW))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return handle


def read_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as the system says.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read()


@contextmanager
def resource_errors(path: Path, size: int | None = None, doing: str = "written") -> Iterator[None]:
    """Turns any ``OSError`` inside into a :class:`~clsfit.errors.ResourceError` about ``path``.

    Args:
        size: bytes that were to be written, if known.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        if error.errno == errno.ELOOP:
            reason = "it is a symbolic link"
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            reason += _space(path, size)
        own = doing == "removed" and isinstance(error, IsADirectoryError)
        remedy = "move it away" if own else remedy_of(error)
        raise ResourceError(f"it could not be {doing}: {reason}", printable(str(path)), remedy) from error


def free_bytes(path: Path) -> int | None:
    """Bytes that may still be written where ``path`` is; None where the system does not say."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def umask() -> int:
    """The process's umask.

    Where the system does not tell it, it can only be read by setting it: for that moment it is the strictest
    one, also for what other threads make.
    """
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line[6:], 8)
    with _umask_guard:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _at(prefix: str, step: str) -> None:
    failpoint(f"{prefix}:{step}")


def _refuse_special(path: Path) -> None:
    """A rename would silently replace a link, and, for a superuser, even ``/dev/null``."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file", str(path))


def _space(path: Path, size: int | None) -> str:
    needed = [f"{size:,} bytes needed"] if size is not None else []
    if (free := free_bytes(path.parent)) is not None:
        needed.append(f"{free:,} bytes free")
    return f" ({', '.join(needed)})" if needed else ""
