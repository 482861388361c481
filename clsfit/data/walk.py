"""Finds the pictures below a folder, and what must not be there. Nothing is ever written."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsfit.errors import DataError, printable

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings, in lower case, of the files that are taken for pictures."""

_SHOWN = 3
_LONGEST = 500  # characters of a path in a message


@dataclass
class Walk:
    """What lies below a folder. All paths are relative to it, with ``/``.

    Attributes:
        pictures: (path, bytes, time of change in ns) of each, by path in code point order.
        folders: paths of all folders below that are not hidden.
        faults: (path, reason) of what is refused.
        hidden: paths of hidden files and folders; none of them is entered.
        others: how many files without a picture's ending there are.
    """

    pictures: list[tuple[str, int, int]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: int = 0

    def refusal(self, root: str) -> DataError:
        """The error that names the faults."""
        return refusal(f"the folder {printable(root)}", sorted(self.faults))


def refusal(
    data: str,
    faults: Sequence[tuple[str, str]],
    remedy: str = "remove what is named, or replace a link by the file it leads to",
) -> DataError:
    """The error that names files which are no pictures of a data set's own.

    Args:
        data: what the data set is called.
        faults: (path, reason) of each.
        remedy: what can be done here.
    """
    named = ", ".join(f"{_short(printable(path))} ({reason})" for path, reason in faults[:_SHOWN])
    more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return DataError(
        f"{data} holds what is no picture of its own",
        named + more,
        remedy,
    )


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST else f"{path[:_LONGEST]}..."


def walk(root: str | Path) -> Walk:
    """Everything below ``root``: regular files, links that stay inside, each folder once.

    Raises:
        OSError: ``root`` itself cannot be listed.
    """
    result = Walk()
    top = os.path.realpath(root)
    state = os.stat(top)
    seen = {(state.st_dev, state.st_ino)}
    waiting = [(str(root), "")]
    while waiting:
        path, relative = waiting.pop()
        try:
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise
            result.faults.append((relative, (error.strerror or str(error)).lower()))
            continue
        for entry in listed:
            below = f"{relative}/{entry.name}" if relative else entry.name
            if entry.name.startswith("."):
                result.hidden.append(below)
            elif _visit(entry, below, top, seen, result):
                result.folders.append(below)
                waiting.append((entry.path, below))
    result.pictures.sort()
    result.folders.sort()
    return result


def is_picture(name: str) -> bool:
    """Whether a file's name has a picture's ending."""
    return name.lower().endswith(SUFFIXES)


def _visit(entry: os.DirEntry[str], below: str, top: str, seen: set[tuple[int, int]], result: Walk) -> bool:
    """Notes an entry; True if it is a folder to enter."""
    try:
        linked = entry.is_symlink()
        if entry.is_dir():
            if linked and not inside(entry.path, top):
                result.faults.append((below, "a link that leaves the data set"))
                return False
            state = os.stat(entry.path)
            place = (state.st_dev, state.st_ino)
            if place in seen:
                result.faults.append((below, "a folder that is reached twice through a link"))
                return False
            seen.add(place)
            return True
        if not is_picture(entry.name):
            if linked:
                os.stat(entry.path)  # a broken link may have been a folder
            result.others += 1
            return False
        state = entry.stat()
    except OSError as error:
        result.faults.append((below, _link_reason(entry, error)))
        return False
    if not stat.S_ISREG(state.st_mode):
        result.faults.append((below, "not a regular file"))
    elif linked and not inside(entry.path, top):
        result.faults.append((below, "a link that leaves the data set"))
    else:
        result.pictures.append((below, state.st_size, state.st_mtime_ns))
    return False


def _link_reason(entry: os.DirEntry[str], error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and os.path.islink(entry.path):
        return "a broken link"
    return (error.strerror or str(error)).lower()


def inside(path: str, top: str) -> bool:
    """Whether a path, its links followed, lies in ``top``, a folder's real path."""
    real = os.path.realpath(path)
    return real == top or real.startswith(top.rstrip(os.sep) + os.sep)
