"""The rows of a table of pictures, whatever it is written in: names of columns, encoding, checks of each cell."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clsfit.data.columns import OPTIONS, Columns
from clsfit.data.layout import SPLIT_FOLDERS
from clsfit.errors import ConfigError, DataError, printable

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "picture")
LABELS = ("label", "class", "target", "category")
"""Names of the two columns that a table must have, in any case."""

NEEDED = ("path", "label")
"""What a table of pictures must have columns for."""

LONGEST = 32_768
"""Characters of the longest cell that is read; no system has longer paths."""

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SPLITS = {"": "", **SPLIT_FOLDERS}
_SHOWN = 8


@dataclass
class Rows:
    """The N rows of a table, as columns.

    Attributes:
        lines: where each row begins in the file, from 1.
        paths: as written.
        labels: without surrounding blanks; empty is unlabelled.
        splits: ``train``, ``val``, ``test`` or empty; no entries where there is no such column.
        groups: no entries where there is no such column, or nothing in it.
        weights: no entries where there is no such column.
        unused: names of the other columns.
        unit: what is counted in ``lines``.
    """

    lines: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    unused: tuple[str, ...] = ()
    unit: str = "line"


def fault_at(what: str, name: str, line: int, remedy: str = "", unit: str = "line") -> DataError:
    """The error for one line of the table ``name``."""
    return DataError(what, f"{printable(name)}, {unit} {line}", remedy)


def decoded(name: str, data: bytes) -> str:
    """The text of a table: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DataError: with the line, where it is no such text, or holds a NUL character.
    """
    encoding = next((known for mark, known in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        raise fault_at(
            f"the table is no {encoding.removesuffix('-sig').upper()} text",
            name,
            len(f"{before}.".splitlines()),
            "save it as UTF-8",
        ) from error
    if "\0" in text:
        line = len(text[: text.index("\0")].splitlines()) or 1
        raise fault_at("the table holds a NUL character", name, line, "save it as UTF-8")  # UTF-16 without its mark?
    return text


def places_of(name: str, header: Sequence[str], columns: Columns, needed: Sequence[str] = NEEDED) -> dict[str, int]:
    """Where the columns stand, by what they are for: path, label, and those of group, split, weight that are there.

    Args:
        name: the table, for messages.
        header: the columns' names, in any case.
        columns: names that are not guessed; they are compared as they are written.
        needed: what there must be columns for.

    Raises:
        DataError: one of ``needed`` is not there, or two columns may be the same thing.
        ConfigError: a column of ``columns`` is not there, or twice.
    """
    lower = [cell.lower() for cell in header]
    given = columns.given()
    wanted: Mapping[str, tuple[str, ...]] = {
        "path": PATHS,
        "label": LABELS,
        **{only: (only,) for only in ("group", "split", "weight")},
    }
    places: dict[str, int] = {}
    for meaning, names in wanted.items():
        if meaning == "split" and columns.split == "":
            continue
        if meaning in given:
            places[meaning] = _place_of_given(name, header, meaning, given[meaning])
            continue
        found = [place for place, cell in enumerate(lower) if cell in names]
        if len(found) > 1:
            raise DataError(
                f"two columns may be the {meaning}: {' and '.join(printable(header[i]) for i in found[:2])}",
                f"{printable(name)}; its columns: {_listed(header)}",
                f"name it with {OPTIONS[meaning]}" if needed == NEEDED else "rename or remove one of them",
            )
        if found:
            places[meaning] = found[0]
        elif meaning in needed:
            raise DataError(
                f"the table has no column for the {meaning}",
                f"{printable(name)}; its columns: {_listed(header)}",
                f"name it one of: {', '.join(names)}"
                + (f"; or say which it is with {OPTIONS[meaning]}" if needed == NEEDED else ""),
            )
    return places


def _place_of_given(name: str, header: Sequence[str], meaning: str, column: str) -> int:
    places = [place for place, cell in enumerate(header) if cell == column]
    if len(places) == 1:
        return places[0]
    raise ConfigError(
        f"{OPTIONS[meaning]}: the table has {'two columns' if places else 'no column'} {printable(column)!r}",
        f"{printable(name)}; its columns: {_listed(header)}",
        "rename one of them" if places else "name one of its columns, as it is written there",
    )


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - _SHOWN} more" if len(header) > _SHOWN else ""
    return ", ".join(printable(cell[:80]) or "(no name)" for cell in header[:_SHOWN]) + more


def rows_of(
    name: str,
    header: Sequence[str],
    places: Mapping[str, int],
    lines: list[int],
    cells: Mapping[str, list[str]],
    *,
    unlabelled: bool = False,
    unit: str = "line",
) -> Rows:
    """The rows, once each cell is checked.

    Args:
        name: the table, for messages.
        header: names of all columns.
        places: of :func:`places_of`.
        lines: [N] where each row begins.
        cells: what a column is for -> [N] its cells.
        unlabelled: whether rows may have no label, since another place says which are for test: that is so
            where ``columns.split`` is empty.
        unit: what is counted in ``lines``, for messages.

    Raises:
        DataError: there are no rows; with the line, where a cell is not as the manual says.
    """
    if not lines:
        raise DataError("the table has no rows", printable(name), "add a row for each picture")
    used = set(places.values())
    unused = tuple(column for place, column in enumerate(header) if place not in used and column)
    rows = Rows(lines, unused=unused, unit=unit)
    _fill(name, rows, cells, unlabelled)
    return rows


def _fill(name: str, rows: Rows, cells: Mapping[str, list[str]], unlabelled: bool) -> None:
    """Checks the cells and puts them into ``rows``."""
    rows.paths = cells["path"]
    rows.labels = [cell.strip() for cell in cells.get("label", ())]
    groups = [cell.strip() for cell in cells.get("group", ())]
    if not all(map(str.strip, rows.paths)):
        _refuse_first(
            name,
            rows,
            rows.paths,
            lambda cell: not cell.strip(),
            "the path is empty",
            "name the picture, or remove the row",
        )
    for column in cells.values():
        if max(map(len, column)) > LONGEST:
            _refuse_first(name, rows, column, lambda cell: len(cell) > LONGEST, f"a cell is longer than {LONGEST:,}")
    rows.splits = [_SPLITS.get(cell.strip().lower(), "?") for cell in cells.get("split", ())]
    if "?" in rows.splits:
        place = rows.splits.index("?")
        raise fault_at(
            f"split {printable(cells['split'][place])!r} is not known",
            name,
            rows.lines[place],
            f"write {', '.join(SPLIT_FOLDERS)}, or leave it empty; --split-by takes the split from elsewhere",
            rows.unit,
        )
    tested = rows.splits or [""] * len(rows.labels)
    pairs = list(zip(rows.labels, tested, strict=True)) if "" in rows.labels and not unlabelled else []
    _refuse_first(
        name,
        rows,
        pairs,
        lambda pair: not pair[0] and pair[1] != "test",
        "the label is empty",
        "only pictures whose split is test may have none",
    )
    if any(groups):
        if not all(groups):
            _refuse_first(
                name, rows, groups, lambda cell: not cell, "the group is empty", "name one in every row, or in none"
            )
        rows.groups = groups
    rows.weights = [_weight(cell) for cell in cells.get("weight", ())]
    _refuse_first(
        name,
        rows,
        rows.weights,
        lambda weight: not (math.isfinite(weight) and weight >= 0),
        "the weight is no finite number >= 0",
        "write it as 2 or 0.5",
    )


def _refuse_first(
    name: str, rows: Rows, column: Sequence[object], is_bad: Callable[..., bool], what: str, remedy: str = ""
) -> None:
    """Raises with the line of the first cell that is bad."""
    for line, cell in zip(rows.lines, column, strict=False):  # a column that is not there has no cells
        if is_bad(cell):
            raise fault_at(what, name, line, remedy, rows.unit)


def _weight(cell: str) -> float:
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan
