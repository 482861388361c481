"""What a table of pictures says: text in columns, read strictly. No file but the table is looked at."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from clsfit.data.layout import SPLIT_FOLDERS
from clsfit.errors import DataError, printable

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
"""What may stand between columns, and what it is called."""

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "picture")
LABELS = ("label", "class", "target", "category")
"""Names of the two columns that a table must have, in any case."""

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
    """

    lines: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    unused: tuple[str, ...] = ()


def read_rows(name: str, data: bytes) -> Rows:
    """The rows of a table.

    Args:
        name: the table's path, for messages.
        data: its bytes: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DataError: with the line, where the table is not as the manual says.
    """
    text = _decoded(name, data)
    header, separator = _header(name, text)
    places = _places(name, header)
    rows = Rows(unused=tuple(h for i, h in enumerate(header) if i not in places.values() and h))
    cells: dict[str, list[str]] = {column: [] for column in places}
    taken = [(cells[column].append, place) for column, place in places.items()]
    body = _records(name, text, separator)
    next(body)  # the header
    for line, row in body:
        if len(row) != len(header):
            raise _fault(
                f"a row has {len(row)} columns, the header has {len(header)}",
                name,
                line,
                f"quote a cell that holds {_called(separator)}, a quote or a line end",
            )
        rows.lines.append(line)
        for append, place in taken:
            append(row[place])
    if not rows.lines:
        raise DataError("the table has no rows", printable(name), "add a row for each picture")
    _fill(name, rows, cells)
    return rows


def _fault(what: str, name: str, line: int, remedy: str = "") -> DataError:
    return DataError(what, f"{printable(name)}, line {line}", remedy)


def _decoded(name: str, data: bytes) -> str:
    encoding = next((known for mark, known in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        raise _fault(
            f"the table is no {encoding.removesuffix('-sig').upper()} text",
            name,
            len(f"{before}.".splitlines()),
            "save it as UTF-8",
        ) from error
    if "\0" in text:
        line = len(text[: text.index("\0")].splitlines()) or 1
        raise _fault("the table holds a NUL character", name, line, "save it as UTF-8")  # UTF-16 without its mark?
    return text


def _records(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = 0
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        raise _fault(
            f"the table cannot be read: {error}",
            name,
            before + 1,
            "close every quote, and double those inside of cells",
        ) from error


def _header(name: str, text: str) -> tuple[list[str], str]:
    """The names of the columns, and the separator that gives both needed ones, or else the most."""
    found: list[tuple[bool, int, list[str], str]] = []
    fault: DataError | None = None
    for separator in SEPARATORS:
        try:
            _, cells = next(_records(name, text, separator), (0, []))
        except DataError as error:  # a quote that ends where no separator stands
            fault = error
            continue
        header = [cell.strip() for cell in cells]
        known = {cell.lower() for cell in header}
        found.append((bool(known & {*PATHS}) and bool(known & {*LABELS}), len(header), header, separator))
    if not found:
        raise fault or DataError("the table has no header", printable(name))
    _, width, header, separator = max(found, key=lambda one: one[:2])  # of equal ones the first
    if not width:
        raise DataError("the table is empty", printable(name), "begin with a line that names the columns")
    if width == 1:
        raise DataError(
            f"the table's header has one column: {printable(header[0][:80])}",
            printable(name),
            f"separate columns by one of {' '.join(SEPARATORS.values())}, the first line naming them",
        )
    return header, separator


def _places(name: str, header: Sequence[str]) -> dict[str, int]:
    """Where the columns stand, by what they are for."""
    lower = [cell.lower() for cell in header]
    wanted: Mapping[str, tuple[str, ...]] = {
        "path": PATHS,
        "label": LABELS,
        **{only: (only,) for only in ("group", "split", "weight")},
    }
    places: dict[str, int] = {}
    for meaning, names in wanted.items():
        found = [place for place, cell in enumerate(lower) if cell in names]
        if len(found) > 1:
            raise DataError(
                f"two columns may be the {meaning}: {' and '.join(printable(header[i]) for i in found[:2])}",
                f"{printable(name)}; its columns: {_listed(header)}",
                "rename or remove one of them",
            )
        if found:
            places[meaning] = found[0]
        elif meaning in {"path", "label"}:
            raise DataError(
                f"the table has no column for the {meaning}",
                f"{printable(name)}; its columns: {_listed(header)}",
                f"name it one of: {', '.join(names)}",
            )
    return places


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - _SHOWN} more" if len(header) > _SHOWN else ""
    return ", ".join(printable(cell[:80]) or "(no name)" for cell in header[:_SHOWN]) + more


def _called(separator: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a |"}[separator]


def _fill(name: str, rows: Rows, cells: Mapping[str, list[str]]) -> None:
    """Checks the cells and puts them into ``rows``."""
    rows.paths = cells["path"]
    rows.labels = [cell.strip() for cell in cells["label"]]
    groups = [cell.strip() for cell in cells.get("group", ())]
    _refuse_first(
        name,
        rows,
        rows.paths,
        lambda cell: not cell.strip(),
        "the path is empty",
        "name the picture, or remove the row",
    )
    for column in cells.values():
        _refuse_first(name, rows, column, lambda cell: len(cell) > LONGEST, f"a cell is longer than {LONGEST:,}")
    rows.splits = [_SPLITS.get(cell.strip().lower(), "?") for cell in cells.get("split", ())]
    if "?" in rows.splits:
        place = rows.splits.index("?")
        raise _fault(
            f"split {printable(cells['split'][place])!r} is not known",
            name,
            rows.lines[place],
            f"write {', '.join(SPLIT_FOLDERS)}, or leave it empty",
        )
    tested = rows.splits or [""] * len(rows.labels)
    pairs = list(zip(rows.labels, tested, strict=True)) if "" in rows.labels else []
    _refuse_first(
        name,
        rows,
        pairs,
        lambda pair: not pair[0] and pair[1] != "test",
        "the label is empty",
        "only pictures whose split is test may have none",
    )
    if any(groups):
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
            raise _fault(what, name, line, remedy)


def _weight(cell: str) -> float:
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan
