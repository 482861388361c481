"""Pictures that a table names: a row per picture, with its path and label. Nothing is ever written."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import MutableSequence, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clsfit import endings
from clsfit.data import class_names, table_jsonl, table_text
from clsfit.data.columns import GUESSED, Columns
from clsfit.data.decode import PictureError
from clsfit.data.reading import read_regular
from clsfit.data.sources import PictureFiles
from clsfit.data.table import SampleTable
from clsfit.data.table_archives import Archives, Member
from clsfit.data.table_rows import NEEDED, Rows
from clsfit.data.walk import inside, refusal
from clsfit.errors import DataError, printable

SUFFIXES = endings.TABLES
"""Endings, in lower case, of the files that are taken for tables."""

ABSENT = "correct the paths, which are relative to the table's folder, or leave these out with --skip-bad"
"""What to do about pictures that are not there."""

_SHOWN = 3
_LEAVES = "a link that leaves the data set"


class TableSource(PictureFiles):
    """The pictures that a table names, in its order. Made by :func:`table_file`.

    Attributes:
        absent: row -> reason, for pictures that are not there; reading them raises.
    """

    def __init__(self, root: str, table: SampleTable, files: _Files, notes: Sequence[str]) -> None:
        super().__init__(root, table, files.sizes, files.times, notes)
        self.absent, self._members = files.absent, files.members

    def read(self, row: int) -> bytes:
        """The bytes of picture ``row``, in an archive or not; raises as the parent's."""
        member = self._members.get(int(row))
        return super().read(row) if member is None else member.read()

    def head(self, row: int, length: int) -> bytes:
        """At most the first ``length`` bytes of picture ``row``; raises as :meth:`read`."""
        member = self._members.get(int(row))
        return super().head(row, length) if member is None else member.read(length)


def table_file(path: Path, *, classes: Sequence[str] | None = None, columns: Columns = GUESSED) -> TableSource:
    """The pictures that the table at ``path`` names.

    A column for the path and one for the label are needed, ``group``, ``split`` and ``weight`` are used where
    they are there (:mod:`clsfit.data.table_rows`). In ``.jsonl`` and ``.ndjson`` each line is an object whose
    keys are the columns, in any other file the first line names them. A relative path is relative to the
    table's folder; it may lead into an archive. Classes are the labels of the training rows, sorted by code point.

    Args:
        path: a regular file.
        classes: names in their order, as a model knows them; the table may then lack some of them.
        columns: names of columns that are not guessed.

    Raises:
        ConfigError: a column of ``columns`` is not there.
        DataError: the table cannot be read, names a picture twice, names what is no regular file or a
            link that leaves the table's folder; there is only one class; a row has a class that training
            (or ``classes``) has not.
    """
    return source_of(os.fspath(path), rows_at(path, columns), classes)


def source_of(name: str, rows: Rows, classes: Sequence[str] | None = None) -> TableSource:
    """The files that the rows of a table name, whatever it is written in; for plugins too.

    Args:
        name: the table's path; relative paths in it are relative to its folder.
        rows: of :func:`clsfit.data.table_rows.rows_of`.
        classes: names in their order, as a model knows them; the table may then lack some of them.

    Raises:
        DataError: as :func:`table_file`.
    """
    root = os.path.dirname(name) or "."
    files = _Files(name, os.path.abspath(root), rows)
    table, notes = table_of(name, rows, classes)
    return TableSource(root, table, files, notes)


def table_of(name: str, rows: Rows, classes: Sequence[str] | None = None) -> tuple[SampleTable, list[str]]:
    """The rows as one table, and notes for the user; no file is looked at. For plugins too: see :func:`source_of`."""
    known = tuple(classes) if classes is not None else _classes(name, rows)
    place = {"": -1} | {label: i for i, label in enumerate(known)}
    _check_known(name, rows, known, "the model" if classes is not None else "training")
    table = SampleTable(
        paths=tuple(rows.paths),
        classes=known,
        targets=np.array([place[label] for label in rows.labels], dtype=np.int64),
        splits=tuple(rows.splits),
        groups=tuple(rows.groups),
        weights=np.array(rows.weights) if rows.weights else None,
    )
    unused = ", ".join(printable(column) for column in rows.unused[:_SHOWN])
    more = f" and {len(rows.unused) - _SHOWN} more" if len(rows.unused) > _SHOWN else ""
    notes = [f"columns that are not used: {unused}{more}"] if unused else []
    if other := [column for column in rows.unused if column.lower() == "split"]:  # it would be used, but for an option
        notes.append(f"the column {printable(other[0])} does not say the split: --split-by does")
    return table, [*notes, *_lacking(rows), *class_names.alike(known)]


def rows_at(path: Path, columns: Columns = GUESSED, needed: Sequence[str] = NEEDED) -> Rows:
    """The rows of the table at ``path``; no other file is looked at.

    Args:
        path: a regular file.
        columns: names of columns that are not guessed.
        needed: what there must be columns for.

    Raises:
        ConfigError: a column of ``columns`` is not there.
        DataError: the table cannot be read.
    """
    name = os.fspath(path)
    try:
        data = read_regular(name)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DataError(f"the table cannot be read: {why}", printable(name)) from error
    except PictureError as error:
        raise DataError(f"the table cannot be read: it is {error}", printable(name)) from error
    reader = table_jsonl if path.suffix.lower() in table_jsonl.SUFFIXES else table_text
    rows: Rows = reader.read_rows(name, data, columns, needed)
    return rows


class _Files:
    """The state of the files that a table names.

    Attributes:
        sizes: [N] int64, bytes; 0 where there is no file.
        times: [N] int64, when they were changed, in ns.
        absent: row -> reason.
        members: row -> where it lies, for pictures in archives.

    Raises:
        DataError: a file is named twice, is no regular file, or a link that leaves the data set; an archive
            cannot be used.
    """

    def __init__(self, name: str, root: str, rows: Rows) -> None:
        self._top = os.path.realpath(root)
        self._within = root.rstrip(os.sep) + os.sep  # what the paths that lead into the table's folder begin with
        self._folders: dict[str, bool] = {}  # whether it stays in the data set, for each that holds a picture
        self.absent: dict[int, str] = {}
        self.members: dict[int, Member] = {}
        archives = Archives(name, lambda path: self._state(path)[1])
        seen: dict[str, int] = {}
        faults: list[tuple[str, str]] = []
        sizes, times = (array("q", bytes(8 * len(rows.paths))) for _ in range(2))
        for row, path in enumerate(rows.paths):
            full, place = self._places(path)
            other = seen.setdefault(os.path.normcase(place), row)
            if other != row:
                raise DataError(
                    f"the picture {printable(path)} is named twice",
                    f"{printable(name)}, {rows.unit}s {rows.lines[other]} and {rows.lines[row]}",
                    "remove one of the rows",
                )
            try:
                if (member := archives.member(full)) is not None:
                    self._note(row, member, sizes, times)
                    continue
                state, reason = self._state(full)
            except OSError as error:
                self.absent[row] = printable(error.strerror or str(error)).lower()
                continue
            if reason:
                faults.append((path, reason))
            sizes[row], times[row] = state.st_size, state.st_mtime_ns
        if faults:
            raise refusal(f"the table {printable(name)}", faults)
        self.sizes: npt.NDArray[np.int64] = np.array(sizes, dtype=np.int64)
        self.times: npt.NDArray[np.int64] = np.array(times, dtype=np.int64)

    def _places(self, path: str) -> tuple[str, str]:
        """A path without detours, absolute, and relative to the table's folder where it leads into that.

        Of a usual path, as there may be millions, nothing new is kept.
        """
        if path[0] not in "./\\" and ":" not in path and os.path.normpath(path) == path:
            return self._within + path, path
        full = os.path.normpath(os.path.join(self._within, path))
        return full, full[len(self._within) :] if self._own(full) else full

    def _note(self, row: int, member: Member, sizes: MutableSequence[int], times: MutableSequence[int]) -> None:
        """Notes a picture of an archive, or that it is not there."""
        size = member.archive.size(member.path)
        if size is None:
            self.absent[row] = "not in the archive"
        else:
            self.members[row], sizes[row], times[row] = member, size, member.archive.time

    def _state(self, full: str) -> tuple[os.stat_result, str]:
        """A file's state, and why it is refused.

        Raises:
            OSError: it is not there.
        """
        state = os.lstat(full)
        folder = full.rpartition(os.sep)[0]
        stays = self._folders.get(folder)
        if stays is None:
            stays = self._folders[folder] = not self._own(full) or inside(folder, self._top)
        return (state, "") if stays and stat.S_ISREG(state.st_mode) else self._look(full, state, stays)

    def _own(self, full: str) -> bool:
        """Whether a path leads into the table's folder, links aside."""
        return full.startswith(self._within)

    def _look(self, full: str, state: os.stat_result, stays: bool) -> tuple[os.stat_result, str]:
        """A file's state, and why it is refused; a link stays in the table's folder, or outside of it in its own."""
        if not stays:
            return state, _LEAVES
        if stat.S_ISLNK(state.st_mode):
            try:
                state = os.stat(full)
            except OSError as error:
                broken = isinstance(error, FileNotFoundError)
                return state, "a broken link" if broken else (error.strerror or str(error)).lower()
            if not inside(full, self._top if self._own(full) else os.path.realpath(os.path.dirname(full))):
                return state, _LEAVES
        return state, "" if stat.S_ISREG(state.st_mode) else "not a regular file"


def _classes(name: str, rows: Rows) -> tuple[str, ...]:
    """The labels of the rows to train on, or of all where there are none."""
    splits = rows.splits or [""] * len(rows.labels)
    training = {label for label, split in zip(rows.labels, splits, strict=True) if split in {"", "train"}}
    found = sorted((training or set(rows.labels)) - {""})
    if len(found) < 2:
        what = f"there is only one class: {printable(found[0])}" if found else "there are no labels"
        raise DataError(what, printable(name), "add pictures of another class")
    return tuple(found)


def _present(rows: Rows) -> set[tuple[str, str]]:
    """Split and label of what has a label."""
    splits = rows.splits or [""] * len(rows.labels)
    return {(split, label) for split, label in zip(splits, rows.labels, strict=True) if label}


def _check_known(name: str, rows: Rows, classes: Sequence[str], who: str) -> None:
    if unknown := class_names.unknown(_present(rows), classes):
        line = rows.lines[next(row for row, label in enumerate(rows.labels) if label in unknown)]
        raise class_names.refusal(
            unknown, who, f"{printable(name)}, {rows.unit} {line}", classes, "correct the label or remove the rows"
        )


def _lacking(rows: Rows) -> tuple[str, ...]:
    """A line for each split that lacks classes of training; of one with unlabelled rows nobody knows."""
    unlabelled = {split for split, label in zip(rows.splits, rows.labels, strict=False) if not label}
    return class_names.lacking_by_split(_present(rows), set(rows.splits) - unlabelled)
