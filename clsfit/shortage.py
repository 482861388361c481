"""What the machine lacks, and what to do about it. Imports little: an import is what fails first without memory."""

from __future__ import annotations

import errno
import re

from clsfit.errors import ResourceError, printable

_REMEDIES = {
    errno.ENOSPC: "free some space, or write elsewhere with -o",
    errno.EDQUOT: "free some space, or write elsewhere with -o",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or write elsewhere with -o",
    errno.EROFS: "write elsewhere with -o",
    errno.EACCES: "change its rights, or write elsewhere with -o",
    errno.EPERM: "change its rights, or write elsewhere with -o",
    errno.EIO: "the disk or its connection may be failing: check it, then go on",
    errno.EMFILE: "allow more open files (ulimit -n), or use fewer workers",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free some memory, or raise its limit (ulimit -v)",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "give another -o: a folder that is there, or a new name",
    errno.EISDIR: "name a file in it",
    errno.EINVAL: "name a regular file, or a new one",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "clsfit never writes through a link: name the file itself",
}
_MISSING = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG", "EROFS", "EACCES", "EPERM", "EIO"),
        *("ENOMEM", "EMFILE", "ENFILE"),
    )
    if hasattr(errno, name)
}
"""What the system says when disk, memory, rights or handles are missing, or a name cannot be on this disk."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_NO_MEMORY = re.compile(r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc", re.IGNORECASE)
_NO_ROOM = re.compile("failed to map segment|cannot allocate memory in static")
_NO_THREAD = "can't start new thread"
_ASKED = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


def remedy_of(error: OSError) -> str:
    """What to do about an error of the system, one line; empty where nothing is known."""
    return _REMEDIES.get(error.errno or 0, "")


def shortage(
    error: BaseException, remedy: str = "lower --batch-size, or choose a smaller model"
) -> ResourceError | None:
    """``error`` as a :class:`~clsfit.errors.ResourceError` where it says that memory or threads are missing.

    Libraries say so in many ways: as a MemoryError, in the text of a RuntimeError (torch on a CPU), as an
    ImportError (a library that finds no room to be loaded).

    Args:
        remedy: what to do about missing memory.

    Returns:
        None where it says nothing of the kind.
    """
    text = str(error)
    if isinstance(error, RuntimeError) and _NO_THREAD in text:
        return ResourceError("the system starts no more threads", "", "allow more processes and memory (ulimit -u, -v)")
    if isinstance(error, ImportError | OSError):
        return _no_room(text) if _NO_ROOM.search(text) else None
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch's
    if isinstance(error, MemoryError) or named or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        asked = _ASKED.search(text)
        return ResourceError("out of memory", f"{asked[1]} were asked for" if asked else _line(text), remedy)
    return None


def of_the_system(error: BaseException) -> ResourceError | None:
    """An ``OSError`` that says that disk, memory, rights or handles are missing, as one of ours; else None."""
    if not isinstance(error, OSError) or error.errno not in _MISSING:
        return None
    name = error.filename
    where = printable(name if isinstance(name, str) else name.decode(errors="replace")) if name else ""
    return ResourceError(error.strerror or type(error).__name__, where, remedy_of(error))


def exhausted(error: BaseException) -> ResourceError | None:
    """An ``OSError`` that says that handles or memory are used up, whatever file it was about; else None."""
    return of_the_system(error) if isinstance(error, OSError) and error.errno in _EXHAUSTED else None


def _no_room(text: str) -> ResourceError:
    remedy = "free some memory, or raise its limit (ulimit -v)"
    return ResourceError("out of memory", f"while a library was loaded: {_line(text)}", remedy)


def _line(text: str) -> str:
    return printable(" ".join(text.partition("\n")[0].split()))[:200]
