"""Pictures in files: a folder per class, or any files to predict. Nothing is ever written."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clsfit.data.decode import PictureError
from clsfit.data.layout import Layout, arrange
from clsfit.data.table import SampleTable
from clsfit.data.walk import walk
from clsfit.errors import DataError, printable

MAX_BYTES = 1 << 29
"""A larger file is refused: no accepted picture of the largest accepted size needs more."""

_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


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

    def stamp(self, rows: npt.NDArray[np.int64]) -> str:
        """Hash over place, size and time of change of the files of ``rows``: 64 hex digits."""
        names = "\0".join(self._table.paths[row] for row in rows.tolist())
        digest = hashlib.sha256(os.fsencode(os.path.realpath(self.root)) + b"\0")
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


class FilesSource:
    """Any files, unlabelled, in the given order. Made by :func:`files`."""

    def __init__(self, paths: Sequence[str], refused: dict[int, str]) -> None:
        self._table = SampleTable(tuple(paths), (), np.full(len(paths), -1, dtype=np.int64))
        self._refused = refused

    def table(self) -> SampleTable:
        """One row per file; paths as given, a path given twice is in it twice."""
        return self._table

    def read(self, row: int) -> bytes:
        """The bytes of file ``row``.

        Raises:
            OSError: the file cannot be read, or does not exist.
            PictureError: it is no regular file, too large, or a link that leaves its folder.
        """
        if row in self._refused:
            raise PictureError(self._refused[row])
        return read_regular(self._table.paths[row])


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
    """Pictures to predict: files, and folders for the pictures below them; unlabelled.

    A file that does not exist or is no picture is a row whose ``read`` raises, so that the others
    get their result.

    Raises:
        DataError: there is not one file.
    """
    rows: list[str] = []
    refused: dict[int, str] = {}
    for given in paths:
        path = os.fspath(given)
        if not os.path.isdir(path):
            rows.append(path)
            continue
        try:
            found = walk(path)
        except OSError as error:
            refused[len(rows)] = (error.strerror or str(error)).lower()
            rows.append(path)
            continue
        reasons = dict(found.faults)
        for below in sorted([picture[0] for picture in found.pictures] + list(reasons)):
            if below in reasons:
                refused[len(rows)] = reasons[below]
            rows.append(os.path.join(path, below))
    if not rows:
        raise DataError("there are no pictures to predict", "", "name files, or folders with pictures")
    return FilesSource(rows, refused)


def read_regular(path: str, length: int | None = None) -> bytes:
    """The bytes of a regular file, at most ``length``; never waits for a pipe or a device.

    Raises:
        OSError: it cannot be read.
        PictureError: it is no regular file, or larger than :data:`MAX_BYTES`.
    """
    handle = os.open(path, _OPEN)
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise PictureError("not a regular file")
        if state.st_size > MAX_BYTES:
            raise PictureError(f"larger than {MAX_BYTES >> 20} MiB")
        wanted = state.st_size if length is None else min(length, state.st_size)
        data = os.read(handle, wanted)
        while len(data) < wanted and (more := os.read(handle, wanted - len(data))):
            data += more
        return data
    finally:
        os.close(handle)
