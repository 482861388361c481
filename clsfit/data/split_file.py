"""A split that a table of its own says: a run's split.csv, what ``clsfit data split`` wrote, or one written by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clsfit.data.table import SampleTable
from clsfit.data.table_file import rows_at
from clsfit.data.table_rows import Rows
from clsfit.errors import DataError, printable

_NEEDED = ("path", "split")
_SHOWN = 3


@dataclass(frozen=True)
class SplitFile:
    """A table of splits, read.

    Attributes:
        file: its path.
        rows: what it says; there may be no labels and no groups.
    """

    file: str
    rows: Rows

    @classmethod
    def read(cls, file: str) -> SplitFile:
        """What the table at ``file`` says.

        Raises:
            DataError: it is not there, cannot be read, or has no columns for path and split.
        """
        if not os.path.exists(file):
            raise DataError(
                "the file that --split-by names does not exist",
                printable(file),
                "check the path; what ends as a table's name does is a file, anything else a column",
            )
        return cls(file, rows_at(Path(file), needed=_NEEDED))

    def applied(
        self, table: SampleTable, root: str | None, *, groups: bool, lenient: bool = False
    ) -> tuple[SampleTable, npt.NDArray[np.int64]]:
        """``table`` with the splits of the file, and the rows that it lacks, which have none.

        Paths of the file are as ``table`` has them, relative to ``root``, or relative to the file: as most of them
        are found.

        Args:
            table: with any splits.
            root: the folder to which the table's paths are relative; None: they are no paths.
            groups: whether to take the groups of the file, where it has any.
            lenient: whether the file may lack rows of the table; such a row is a group of its own.

        Raises:
            DataError: a picture is in one of both only, named twice, or has two labels.
        """
        places = self._places(table.paths, root)
        found = np.full(len(table), -1, dtype=np.int64)
        for line, row in enumerate(places):
            if row is not None:
                if found[row] >= 0:
                    raise DataError(
                        f"the picture {printable(table.paths[row])} is named twice",
                        f"{printable(self.file)}, lines {self.rows.lines[found[row]]} and {self.rows.lines[line]}",
                        "remove one of the rows",
                    )
                found[row] = line
        strange = [path for path, row in zip(self.rows.paths, places, strict=True) if row is None]
        lacking = np.flatnonzero(found < 0).astype(np.int64)
        if strange or (len(lacking) and not lenient):
            self.refuse([table.paths[row] for row in lacking.tolist()], strange)
        self._check_labels(table, found)
        lines = found.tolist()
        table = table.with_splits([self.rows.splits[line] if line >= 0 else "" for line in lines])
        if groups and self.rows.groups:
            named = zip(lines, table.paths, strict=True)
            table = replace(table, groups=tuple(self.rows.groups[line] if line >= 0 else path for line, path in named))
        return table, lacking

    def refuse(self, lacking: Sequence[str], strange: Sequence[str] = ()) -> None:
        """Raises for pictures that only DATA (``lacking``) or only the file (``strange``) has."""
        told = [
            f"{len(paths):,} of {whose} ({_shown(paths)})"
            for whose, paths in (("DATA only", lacking), ("the file only", strange))
            if paths
        ]
        raise DataError(
            f"--split-by {printable(self.file)} is not of the pictures of DATA",
            "; ".join(told),
            "write it anew, such as with clsfit data split; its paths are relative to DATA, or to the file itself",
        )

    def _places(self, paths: Sequence[str], root: str | None) -> list[int | None]:
        """For each row of the file the picture that it names, by the reading by which the most are found."""
        readings = [_looked_up(self.rows.paths, {path: row for row, path in enumerate(paths)})]
        if root is not None and None in readings[0]:
            top = os.path.abspath(root)
            by_place = {_full(top, path): row for row, path in enumerate(paths)}
            for base in (os.path.dirname(os.path.abspath(self.file)), top):
                if None in readings[-1]:
                    readings.append(_looked_up((_full(base, path) for path in self.rows.paths), by_place))
        return min(readings, key=lambda reading: reading.count(None))  # of equal ones the first

    def _check_labels(self, table: SampleTable, found: npt.NDArray[np.int64]) -> None:
        if not self.rows.labels:
            return
        labels = table.labels()
        for row, line in enumerate(found.tolist()):
            said = self.rows.labels[line] if line >= 0 else ""
            if said and said != labels[row].strip():
                raise DataError(
                    f"the label of {printable(table.paths[row])} is {printable(labels[row]) or 'empty'} in DATA, but "
                    f"{printable(said)} in the split's table",
                    f"{printable(self.file)}, line {self.rows.lines[line]}",
                    "correct one of them",
                )


def _looked_up(names: Iterable[str], rows: Mapping[str, int]) -> list[int | None]:
    return [rows.get(name) for name in names]


def _full(base: str, path: str) -> str:
    return os.path.normcase(os.path.normpath(os.path.join(base, path)))


def _shown(paths: Sequence[str]) -> str:
    named = ", ".join(printable(path) for path in paths[:_SHOWN])
    return named + (", ..." if len(paths) > _SHOWN else "")
