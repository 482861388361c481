"""Pictures in files: a folder per class, or any files to predict. Nothing is ever written."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clsfit.data.archive import Archive, in_archive
from clsfit.data.decode import PictureError
from clsfit.data.layout import Layout, arrange
from clsfit.data.reading import read_regular
from clsfit.data.table import SampleTable
from clsfit.data.walk import walk
from clsfit.errors import DataError, printable


class PictureFiles:
    """Labelled pictures, each in a file: what all such :class:`clsfit.contracts.Dataset` have in common.

    Args:
        root: the folder to which the table's paths are relative.
        table: one row per picture.
        sizes_bytes: [N] int64.
        times: [N] int64, when each file was changed, in ns.
        notes: lines for the user.

    Attributes:
        root: the folder.
        sizes_bytes: [N] int64, each file's size when it was found.
        notes: one line each on what is there and is not used.
    """

    def __init__(
        self,
        root: str,
        table: SampleTable,
        sizes_bytes: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        notes: Sequence[str],
    ) -> None:
        self.root, self.sizes_bytes, self.notes = root, sizes_bytes, tuple(notes)
        self._table, self._times = table, times

    def table(self) -> SampleTable:
        """One row per picture, in the same order whatever the file system's order."""
        return self._table

    def read(self, row: int) -> bytes:
        """The bytes of picture ``row``.

        Raises:
            OSError: the file cannot be read.
            PictureError: it is no regular file any more, or too large.
        """
        return read_regular(os.path.join(self.root, self._table.paths[row]))

    def head(self, row: int, length: int) -> bytes:
        """At most the first ``length`` bytes of picture ``row``; raises as :meth:`read`."""
        return read_regular(os.path.join(self.root, self._table.paths[row]), length)

    @functools.cached_property
    def _place(self) -> str:
        return os.path.realpath(self.root)

    def stamp(self, rows: npt.NDArray[np.int64]) -> str:
        """Hash over place, size and time of change of the files of ``rows``: 64 hex digits."""
        names = "\0".join(self._table.paths[row] for row in rows.tolist())
        digest = hashlib.sha256(os.fsencode(self._place) + b"\0")
        digest.update(names.encode("utf-8", "surrogateescape"))
        digest.update(self.sizes_bytes[rows].astype("<i8").tobytes())
        digest.update(self._times[rows].astype("<i8").tobytes())
        return digest.hexdigest()


class FolderSource(PictureFiles):
    """A folder per class, its pictures by path in code point order. Made by :func:`folder`."""

    def __init__(self, root: str, layout: Layout) -> None:
        place = {name: i for i, name in enumerate(layout.classes)}
        table = SampleTable(
            paths=tuple(p[0] for p in layout.pictures),
            classes=layout.classes,
            targets=np.array([place[label] for label in layout.labels], dtype=np.int64),
            splits=layout.splits,
        )
        sizes = np.array([p[1] for p in layout.pictures], dtype=np.int64)
        times = np.array([p[2] for p in layout.pictures], dtype=np.int64)
        super().__init__(root, table, sizes, times, layout.notes)


class _Picture(NamedTuple):
    """A file to predict: its path as it is shown, why it is not read, and the archive and path where it lies in one."""

    path: str
    refused: str = ""
    archive: Archive | None = None
    member: str = ""


class FilesSource:
    """Any files, unlabelled, in the given order. Made by :func:`files`."""

    def __init__(self, pictures: Sequence[_Picture]) -> None:
        self._pictures = tuple(pictures)
        paths = tuple(picture.path for picture in pictures)
        self._table = SampleTable(paths, (), np.full(len(paths), -1, dtype=np.int64))

    def table(self) -> SampleTable:
        """One row per file; paths as given, a path given twice is in it twice."""
        return self._table

    def read(self, row: int) -> bytes:
        """The bytes of file ``row``.

        Raises:
            OSError: the file cannot be read, or does not exist.
            PictureError: it is no regular file, too large, a link that leaves its folder, or damaged in its archive.
        """
        picture = self._pictures[row]
        if picture.refused:
            raise PictureError(picture.refused)
        return read_regular(picture.path) if picture.archive is None else picture.archive.read(picture.member)


def folder(root: Path, *, classes: Sequence[str] | None = None) -> FolderSource:
    """The pictures below ``root``, in a folder per class, with or without ``train/``, ``val/``, ``test/`` above.

    Classes are folder names, sorted by code point, and mapped by name in every split (``valid`` and
    ``validation`` are ``val``). Pictures in folders below a class folder belong to the class.
    Hidden files and folders, and files without a picture's ending, are not used.

    Args:
        root: the folder.
        classes: names in their order, as a model knows them; the folder may then lack some of them.

    Raises:
        DataError: there is no such folder, or no class with pictures, or only one; a class folder is
            empty; validation or test has a class that training (or ``classes``) has not; something
            is no regular file, or a link that is broken, loops or leaves ``root``.
    """
    path = os.fspath(root)
    try:
        found = walk(path)
    except NotADirectoryError:
        raise DataError("the data is a file, not a folder", printable(path), "name the folder above") from None
    except FileNotFoundError:
        raise DataError("the data folder does not exist", printable(path), "check the path") from None
    except OSError as error:
        raise DataError(
            f"the data folder cannot be read: {(error.strerror or str(error)).lower()}", printable(path)
        ) from error
    if found.faults:
        raise found.refusal(path)
    return FolderSource(path, arrange(path, found, classes))


def files(paths: Iterable[str | Path]) -> FilesSource:
    """Pictures to predict: files, and folders and archives for the pictures below them; unlabelled.

    A path may lead into an archive, to a picture or a folder: ``photos.zip/cat/1.jpg``.

    A file that does not exist or is no picture is a row whose ``read`` raises, so that the others
    get their result.

    Raises:
        DataError: there is not one file.
        ResourceError: the system has no handle or memory left.
    """
    rows: list[_Picture] = []
    opened: dict[str, Archive] = {}
    for given in paths:
        path = os.fspath(given)
        if os.path.isdir(path):
            rows += _of_folder(path)
        elif (place := in_archive(path)) is not None:
            rows += _of_archive(path, *place, opened)
        else:
            rows.append(_Picture(path))
    if not rows:
        raise DataError("there are no pictures to predict", "", "name files, or folders with pictures")
    return FilesSource(rows)


def _of_folder(path: str) -> list[_Picture]:
    try:
        found = walk(path)
    except OSError as error:
        return [_Picture(path, (error.strerror or str(error)).lower())]
    reasons = dict(found.faults)
    below = sorted([picture[0] for picture in found.pictures] + list(reasons))
    return [_Picture(os.path.join(path, name), reasons.get(name, "")) for name in below]


def _of_archive(given: str, name: str, below: str, opened: dict[str, Archive]) -> list[_Picture]:
    """The pictures of the archive ``name`` that ``given`` stands for; where it cannot be, a row that says so."""
    try:
        archive = opened[name] = opened.get(name) or Archive(name)
    except DataError as error:
        return [_Picture(given, error.what)]
    found = archive.below(below)
    if below and not found:
        return [_Picture(given, "not in the archive")]
    return [_Picture(f"{name}/{path}", reason, archive, path) for path, reason in found]
