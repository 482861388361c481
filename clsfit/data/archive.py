"""Archives of pictures, read in place: zip and uncompressed tar. Nothing is unpacked, nothing is written."""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from clsfit import endings
from clsfit.data import archive_tar, archive_zip
from clsfit.data.archive_entry import Entry, compressed
from clsfit.data.decode import PictureError
from clsfit.data.layout import SPLIT_FOLDERS, arrange
from clsfit.data.reading import open_regular, refuse_large
from clsfit.data.table import SampleTable
from clsfit.data.walk import Walk, is_picture, refusal
from clsfit.errors import DataError, printable
from clsfit.shortage import exhausted


class _Format(Protocol):
    def entries(self, name: str, handle: int, size: int) -> list[Entry]:
        """The members of an archive."""

    def read(self, handle: int, entry: Entry, length: int) -> bytes:
        """The first bytes of one."""


_FORMATS: dict[str, _Format] = {".zip": archive_zip, ".tar": archive_tar}

SUFFIXES = endings.ARCHIVES
"""Endings, in lower case, of the files that are taken for archives; compressed tars among them are refused."""

_ENDING = re.compile(f"(?:{'|'.join(map(re.escape, SUFFIXES))})(?=/|$)", re.IGNORECASE)
_LONGEST = 4096  # characters of a path, as systems have it
_LEVELS = 3  # of folders, which say split and class; whatever is deeper only holds pictures
_MAC = "__MACOSX"  # notes that macOS adds to a zip
_ODD = re.compile(rf"(?:^|/)(?:\.|/|$|{_MAC})|\0")  # hidden, upwards, absolute, with empty parts, with NUL
_REMEDY = "make the archive anew without it: a link replaced by its file, no password, the usual compression"


class Archive:
    """An archive whose members are read where they lie, by several threads if need be.

    A copy of it in another process has a handle of its own.

    Args:
        path: of a regular file that ends in ``.zip`` or ``.tar``.

    Attributes:
        path: of the file.
        found: what is in it, as below a folder; pictures of the archive's own only.

    Raises:
        DataError: it is no such archive, is compressed or damaged.
        ResourceError: the system has no handle or memory left.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._ending = os.path.splitext(path)[1].lower()
        if self._ending not in _FORMATS:
            raise compressed(path)
        try:
            self._file = _File(path)
            entries = _FORMATS[self._ending].entries(path, self._file.handle, self._file.size)
        except OSError as error:
            if (missing := exhausted(error)) is not None:
                raise missing from error
            why = (error.strerror or str(error)).lower()
            raise DataError(f"the archive cannot be read: {why}", printable(path)) from error
        except PictureError as error:
            raise DataError(f"the archive cannot be read: it is {error}", printable(path)) from error
        self.found, self._entries = _survey(entries)

    @property
    def time(self) -> int:
        """When it was changed, in ns."""
        return self._file.time

    def size(self, path: str) -> int | None:
        """Bytes of the picture at ``path``, unpacked; None where there is none."""
        entry = self._entries.get(path)
        return entry.size if entry is not None else None

    def read(self, path: str, length: int | None = None) -> bytes:
        """The bytes of a picture, at most ``length``; of a whole one in a zip the checksum is compared.

        Args:
            path: one of those in :attr:`found`.
            length: None is all.

        Raises:
            OSError: the archive cannot be read.
            PictureError: it has changed since it was opened, the picture is damaged or too large.
        """
        entry = self._entries[path]
        refuse_large(entry.size)
        self._file.refuse_changed()
        return _FORMATS[self._ending].read(self._file.handle, entry, entry.size if length is None else length)

    def below(self, path: str) -> list[tuple[str, str]]:
        """The pictures below a folder in the archive, all for the empty text, or the picture at ``path``.

        Returns:
            Each one's path, and why it is refused or an empty text, by path in code point order.
        """
        if path in self._entries:
            return [(path, "")]
        top = path.rstrip("/") + "/" if path else ""
        rows = [(picture[0], "") for picture in self.found.pictures] + self.found.faults
        return sorted(row for row in rows if row[0].startswith(top) or row[0] == path)

    def stamp(self, paths: Sequence[str]) -> str:
        """Hash over the archive's place, size and time of change, and where each picture lies: 64 hex digits."""
        where = [os.path.realpath(self.path), self._file.size, self._file.time]
        digest = hashlib.sha256(repr(where).encode("utf-8", "surrogateescape"))
        for path in paths:
            entry = self._entries[path]
            text = f"{path}\0{entry.offset} {entry.packed} {entry.size} {entry.crc}\n"
            digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class _File:
    """An open file; a copy of it in another process opens it anew."""

    def __init__(self, path: str, size: int | None = None, time: int = 0) -> None:
        self._path = path
        self.handle, state = open_regular(path)
        weakref.finalize(self, os.close, self.handle)
        self.size, self.time = (state.st_size, state.st_mtime_ns) if size is None else (size, time)

    def __reduce__(self) -> tuple[type[_File], tuple[str, int, int]]:
        return _File, (self._path, self.size, self.time)

    def refuse_changed(self) -> None:
        """Raises PictureError where somebody has written to the file."""
        state = os.fstat(self.handle)
        if (state.st_size, state.st_mtime_ns) != (self.size, self.time):
            raise PictureError("the archive has changed since it was opened")


class ArchiveSource:
    """A folder per class in an archive, its pictures by path in code point order. Made by :func:`archive`.

    Attributes:
        sizes_bytes: [N] int64, each picture's size, not compressed.
        notes: one line each on what is there and is not used.
        root: to which the table's paths are relative: the archive, or a folder in it.
    """

    def __init__(self, opened: Archive, classes: Sequence[str] | None) -> None:
        self._archive = opened
        found, self._top = _below_top(opened.found, classes)
        layout = arrange(opened.path, found, classes)
        place = {name: i for i, name in enumerate(layout.classes)}
        self._table = SampleTable(
            paths=tuple(p[0] for p in layout.pictures),
            classes=layout.classes,
            targets=np.array([place[label] for label in layout.labels], dtype=np.int64),
            splits=layout.splits,
        )
        self.sizes_bytes: npt.NDArray[np.int64] = np.array([p[1] for p in layout.pictures], dtype=np.int64)
        self.root = f"{opened.path}/{self._top}".rstrip("/")
        top = (f"paths are those below {printable(self._top)} in the archive",) if self._top else ()
        self.notes = (*top, *layout.notes)

    def table(self) -> SampleTable:
        """One row per picture, as the same folders outside of an archive would have it."""
        return self._table

    def read(self, row: int) -> bytes:
        """The bytes of picture ``row``; raises as :meth:`Archive.read`."""
        return self._archive.read(self._top + self._table.paths[row])

    def head(self, row: int, length: int) -> bytes:
        """At most the first ``length`` bytes of picture ``row``; raises as :meth:`read`."""
        return self._archive.read(self._top + self._table.paths[row], length)

    def stamp(self, rows: npt.NDArray[np.int64]) -> str:
        """As :meth:`Archive.stamp`, of ``rows``."""
        return self._archive.stamp([self._top + self._table.paths[row] for row in rows.tolist()])


def in_archive(path: str) -> tuple[str, str] | None:
    """The archive that a path names or leads into, and the path in it; None where there is none.

    ``photos.zip/cat/1.jpg`` is ``photos.zip`` and ``cat/1.jpg``.
    """
    for found in _ENDING.finditer(path):
        if os.path.isfile(path[: found.end()]):
            return path[: found.end()], path[found.end() + 1 :]
    return None


def archive(path: Path, *, classes: Sequence[str] | None = None) -> ArchiveSource:
    """The pictures in the archive at ``path``, by the rules of :func:`clsfit.data.sources.folder`.

    A single folder that holds all others is left out of the paths, unless it is a split or one of ``classes``.

    Args:
        path: a regular file.
        classes: names in their order, as a model knows them; the archive may then lack some of them.

    Raises:
        DataError: as :class:`Archive` and :func:`clsfit.data.sources.folder`; a member is a link, encrypted, there
            twice, or has a path that leads elsewhere.
        ResourceError: the system has no handle or memory left.
    """
    return ArchiveSource(open_whole(os.fspath(path)), classes)


def open_whole(path: str) -> Archive:
    """An archive in which there is nothing to refuse; raises as :func:`archive`."""
    opened = Archive(path)
    if opened.found.faults:
        raise refusal(f"the archive {printable(opened.path)}", sorted(opened.found.faults), _REMEDY)
    return opened


def _survey(entries: Sequence[Entry]) -> tuple[Walk, dict[str, Entry]]:
    """What is in an archive, and its pictures by path."""
    found, pictures = Walk(), {}
    folders: set[str] = set()
    hidden: set[str] = set()
    twice: set[str] = set()
    for entry in entries:
        path, fault, inside = _place(entry.path)
        if fault:
            found.faults.append((entry.path[:_LONGEST], fault))
        elif inside:
            hidden.add(inside)
        elif entry.fault and (entry.fault == "a link" or is_picture(path)):  # a link may stand for a folder
            found.faults.append((path, entry.fault))
        elif path in pictures:
            twice.add(path)
        else:
            folders.add(path if entry.folder else path.rpartition("/")[0])
            if not entry.folder and is_picture(path):
                pictures[path] = entry
            elif not entry.folder:
                found.others += 1
    for path in sorted(twice):
        del pictures[path]
        found.faults.append((path, "there twice"))
    found.pictures = sorted((path, entry.size, 0) for path, entry in pictures.items())
    found.folders, found.hidden = sorted(folders - {""}), sorted(hidden)
    return found, pictures


def _place(path: str) -> tuple[str, str, str]:
    """A member's path without what means nothing; why it is refused; what hides it. The last two are mostly empty."""
    if len(path) > _LONGEST:
        return path, "a path that is too long", ""
    if _ODD.search(path) is None:
        return path, "", ""
    if path.startswith("/"):
        return path, "an absolute path", ""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        return path, "a path that leaves the archive", ""
    if "\0" in path:
        return path, "a NUL in its path", ""
    first = next((i for i, part in enumerate(parts) if part.startswith(".") or part == _MAC), len(parts))
    return "/".join(parts), "", "/".join(parts[: first + 1]) if first < len(parts) else ""


def _below_top(found: Walk, classes: Sequence[str] | None) -> tuple[Walk, str]:
    """What is below the folders that only hold the others, and their path, with a ``/`` behind."""
    top = ""
    while True:
        below = [path[len(top) :] for path, *_ in found.pictures]
        folders = [path[len(top) :].split("/") for path in found.folders if path.startswith(top)]
        first = {path.partition("/")[0] for path in below} | {parts[0] for parts in folders}
        name = next(iter(first), "")
        deep = any(path.count("/") > 1 for path in below)
        if len(first) != 1 or not deep or name.lower() in SPLIT_FOLDERS or name in (classes or ()):
            break
        top += f"{name}/"
    return Walk(
        [(path[len(top) :], size, time) for path, size, time in found.pictures],
        sorted({"/".join(parts[:depth]) for parts in folders for depth in range(1, min(len(parts), _LEVELS) + 1)}),
        hidden=[path.removeprefix(top) for path in found.hidden],
        others=found.others,
    ), top
