"""A table of pictures as text in columns (CSV), read strictly. No file but the table is looked at."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter

from clsfit.data.columns import GUESSED, Columns
from clsfit.data.table_rows import LABELS, NEEDED, PATHS, Rows, decoded, fault_at, places_of, rows_of
from clsfit.errors import DataError, printable

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
"""What may stand between columns, and what it is called."""

_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def read_rows(name: str, data: bytes, columns: Columns = GUESSED, needed: Sequence[str] = NEEDED) -> Rows:
    """The rows of a table.

    Args:
        name: the table's path, for messages.
        data: its bytes: UTF-8, or UTF-16 with a byte order mark.
        columns: names that are not guessed.
        needed: what there must be columns for.

    Raises:
        ConfigError: a column of ``columns`` is not there.
        DataError: with the line, where the table is not as the manual says.
    """
    text = decoded(name, data)
    header, separator = _header(name, text, columns, needed)
    lines: list[int] = []
    places = places_of(name, header, columns, needed)
    cells: dict[str, list[str]] = {column: [] for column in places}
    taken = [(cells[column].append, place) for column, place in places.items()]
    body = _records(name, text, separator)
    next(body)  # the header
    for line, row in body:
        if len(row) != len(header):
            raise fault_at(
                f"a row has {len(row)} columns, the header has {len(header)}",
                name,
                line,
                f"quote a cell that holds {_called(separator)}, a quote or a line end",
            )
        lines.append(line)
        for append, place in taken:
            append(row[place])
    return rows_of(name, header, places, lines, cells, unlabelled=columns.split == "" or needed != NEEDED)


def _records(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each row that is not blank."""
    lines = map(itemgetter(0), _LINES.finditer(text))  # io.StringIO would take four bytes a character
    reader = csv.reader(lines, delimiter=separator, strict=True)
    before = 0
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        raise fault_at(
            f"the table cannot be read: {error}",
            name,
            before + 1,
            "close every quote, and double those inside of cells",
        ) from error


def _header(name: str, text: str, columns: Columns, needed: Sequence[str]) -> tuple[list[str], str]:
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
        has_path = columns.path in header if columns.path is not None else bool(known & {*PATHS})
        has_label = columns.label in header if columns.label is not None else bool(known & {*LABELS})
        has_others = known.issuperset({*needed} - {*NEEDED})
        found.append((has_path and (has_label or "label" not in needed) and has_others, len(header), header, separator))
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


def _called(separator: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a |"}[separator]
