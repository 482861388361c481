"""A Parquet file as a data set: one with paths is a table of pictures, one with bytes holds them itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clsfit.data.columns import Columns
from clsfit.data.table import SampleTable
from clsfit.data.table_file import TableSource, source_of, table_of
from clsfit.data.table_rows import Rows, rows_of
from clsfit.errors import DataError, printable
from clsfit_parquet import pictures as memory
from clsfit_parquet.columns import ROW, Places, find, named, texts
from clsfit_parquet.file import File, Leaf, reading
from clsfit_parquet.pictures import Pictures


class ParquetSource:
    """The pictures in a Parquet file, in its order. Made by :func:`parquet`.

    Args:
        pictures: their bytes.
        table: one row per picture.
        files: pictures that the file names by their paths, where it has no bytes of them.
        places: row -> row of ``files``.
        notes: lines for the user.

    Attributes:
        sizes_bytes: [N] int64, of each picture.
        absent: row -> reason, for pictures that are not there.
        notes: one line each on what is there and is not used, or slow.
    """

    def __init__(
        self,
        file: File,
        pictures: Pictures,
        table: SampleTable,
        files: TableSource | None,
        places: dict[int, int],
        notes: Sequence[str],
    ) -> None:
        self._file, self._pictures, self._table = file, pictures, table
        self._files, self._places, self.notes = files, places, tuple(notes)
        self.sizes_bytes = pictures.lengths.copy()
        self.absent: dict[int, str] = {}
        if files is not None:
            rows = np.array(sorted(places), dtype=np.int64)
            self.sizes_bytes[rows] = files.sizes_bytes
            self.absent = {int(rows[place]): why for place, why in files.absent.items()}

    def table(self) -> SampleTable:
        """One row per picture, in the file's order."""
        return self._table

    def read(self, row: int) -> bytes:
        """The bytes of picture ``row``.

        Raises:
            PictureError: it is damaged or too large, or the file has changed since it was opened.
            OSError: it cannot be read.
            ResourceError: there is not enough memory.
        """
        if self._files is not None and row in self._places:
            return self._files.read(self._places[row])
        return self._pictures.read(row)

    def head(self, row: int, length: int) -> bytes:
        """At most the first ``length`` bytes of picture ``row``; raises as :meth:`read`."""
        if self._files is not None and row in self._places:
            return self._files.head(self._places[row], length)
        return self._pictures.read(row, length)

    def stamp(self, rows: npt.NDArray[np.int64]) -> str:
        """Hash over the file's place, size and time of change, and which rows: 64 hex digits."""
        where = [os.path.realpath(self._file.path), *self._file.state]
        digest = hashlib.sha256(repr(where).encode("utf-8", "surrogateescape"))
        digest.update(rows.astype("<i8").tobytes())
        if self._files is not None:
            named = np.array([self._places[row] for row in rows.tolist() if row in self._places], dtype=np.int64)
            digest.update(self._files.stamp(named).encode())
        return digest.hexdigest()


def parquet(path: str, columns: Columns, class_names: Sequence[str] | None) -> ParquetSource | TableSource:
    """The pictures in the Parquet file at ``path``.

    Columns are found by their names and types (:mod:`clsfit_parquet.columns`), cells are checked and classes found
    as in any table of pictures.

    Args:
        path: a regular file.
        columns: names that are not guessed.
        class_names: the classes in a model's order; the file may then lack some of them.

    Raises:
        DataError: it is no Parquet file, is damaged, or not as the manual says.
        ConfigError: a column of ``columns`` is not there.
        ResourceError: the system has no handle or memory left.
    """
    file = File(path)
    found = find(file, columns)
    with reading(path):
        file.use(_leaves(file, found))
    pictures = Pictures(file, found.bytes) if found.bytes is not None and len(file) else None
    rows = _rows(file, found, pictures, unlabelled=columns.split == "")
    if pictures is None:
        return source_of(path, rows, class_names)
    table, notes = table_of(path, rows, class_names)
    files, places = None, {}
    without: npt.NDArray[np.int64] = np.flatnonzero(pictures.lengths < 0)
    if len(without):
        files = source_of(path, _some(rows, without.tolist()), table.classes)
        places = {row: place for place, row in enumerate(without.tolist())}
    return ParquetSource(file, pictures, table, files, places, [*notes, *_slow(file)])


def _leaves(file: File, found: Places) -> list[Leaf]:
    """The columns of cells that are read."""
    names = [
        file.schema.names[place] for meaning, place in found.places.items() if meaning != "path" or not found.bytes
    ]
    return [Leaf(name, name) for name in names] + ([found.name] if found.name is not None else [])


def _rows(file: File, found: Places, pictures: Pictures | None, *, unlabelled: bool) -> Rows:
    header = list(file.schema.names)
    places = dict(found.places)
    cells = {
        meaning: texts(file, Leaf(header[place], header[place]), meaning)
        for meaning, place in places.items()
        if meaning != "path" or pictures is None
    }
    if found.class_names:
        cells["label"] = named(file, cells["label"], found.class_names)
    if pictures is not None:
        cells["path"] = _names(file, found, pictures)
    places |= {f"also {place}": place for place in found.also}
    lines = list(range(1, len(file) + 1))
    return rows_of(file.path, header, places, lines, cells, unlabelled=unlabelled, unit=ROW)


def _names(file: File, found: Places, pictures: Pictures) -> list[str]:
    """What pictures are called that are given as bytes: as the file does, where that tells them apart, else by row."""
    without = set(np.flatnonzero(pictures.lengths < 0).tolist())
    given = texts(file, found.name, "path") if found.name is not None else [""] * len(file)
    first = next((row for row in sorted(without) if not given[row].strip()), None)
    if first is not None:
        raise DataError(
            "there is no picture: neither bytes nor a path",
            f"{printable(file.path)}, {ROW} {first + 1}",
            "add the picture, or remove the row",
        )
    if all(name.strip() for name in given) and len(set(given)) == len(given):
        return given
    return [given[row] if row in without else f"row-{row + 1:08}" for row in range(len(file))]


def _some(rows: Rows, chosen: Sequence[int]) -> Rows:
    """Some of the rows, with what names their files."""
    return Rows(
        [rows.lines[row] for row in chosen],
        [rows.paths[row] for row in chosen],
        [rows.labels[row] for row in chosen],
        [rows.splits[row] for row in chosen] if rows.splits else [],
        unit=rows.unit,
    )


def _slow(file: File) -> list[str]:
    """A note where pictures in random order would be found slowly."""
    largest = max(map(file.size, range(len(file.groups))), default=0)
    if largest <= memory.KEPT:
        return []
    return [
        f"a row group holds {largest >> 20:,} MiB, and is read from its beginning where the pictures' order is random; "
        "row groups of 100 to 1,000 pictures are read faster"
    ]
