"""A competition's file, filled: the class of each picture in its label column, all else as it was.

:func:`read` reads the file, :func:`match` finds the picture of each row, :meth:`Template.filled` gives
the bytes with the classes in them. Only the cells of the label column are replaced in the file's own
bytes, so the rest cannot change: header, order, separator, quotes, byte order mark, line ends.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsfit.data.table_text import SEPARATORS
from clsfit.data.walk import is_picture, walk
from clsfit.errors import ConfigError, DataError, printable

LABEL_NAMES = frozenset({"label", "class", "target", "category", "prediction", "predicted", "answer", "ans"})
ID_NAMES = frozenset({"path", "file", "filename", "file_name", "image", "image_id", "imageid", "img", "id", "picture"})

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's value, and where its text lies, with its quotes."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Template:
    """A competition's file.

    Attributes:
        name: the file, for messages.
        text: all of it, a byte order mark at its head included; bytes that are no UTF-8 as lone surrogates.
        separator: between cells.
        ids: what names each row's picture, in the file's order; unique.
        spans: where in ``text`` the label cell of each row lies.
    """

    name: str
    text: str = field(repr=False)
    separator: str
    ids: tuple[str, ...] = field(repr=False)
    spans: tuple[tuple[int, int], ...] = field(repr=False)

    def filled(self, classes: Sequence[str]) -> bytes:
        """The file with ``classes``, one per row in the file's order, in its label column."""
        pieces, done = [], 0
        for (start, end), name in zip(self.spans, classes, strict=True):
            pieces += [self.text[done:start], self._cell(name, quoted=self.text[start:end].startswith('"'))]
            done = end
        pieces.append(self.text[done:])
        return "".join(pieces).encode("utf-8", "surrogateescape")

    def _cell(self, value: str, *, quoted: bool) -> str:
        if quoted or any(character in value for character in (self.separator, '"', "\r", "\n")):
            return '"' + value.replace('"', '""') + '"'
        return value


def read(path: Path, *, label_column: str | None = None, id_column: str | None = None) -> Template:
    """Reads a template: CSV in UTF-8, separated by one of :data:`~clsfit.data.table_text.SEPARATORS`.

    Args:
        path: the file; its first line names the columns.
        label_column: the column to fill; None finds it by its name (:data:`LABEL_NAMES`), or as the
            second of two.
        id_column: the column that names pictures; None finds it by its name (:data:`ID_NAMES`), or as
            the first that is not filled.

    Raises:
        ConfigError: there is no such file or column, or it is not clear which column is meant.
        DataError: it is no such table, or it names a picture twice.
    """
    name = printable(str(path))
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"the template cannot be read: {reason}", f"--template {name}", "check its name") from error
    if "\0" in text:
        raise DataError("the template is no text in UTF-8", name, "save it as CSV in UTF-8")
    separator = max(SEPARATORS, key=lambda candidate: _width(text, candidate))
    rows = _rows(text, separator, name)
    header = next(rows, [])
    columns = [cell.value for cell in header]
    if len(columns) < 2:
        raise DataError("the template has fewer than two columns", name, "separate its columns by , ; | or a tab")
    label, picture = _columns(columns, label_column, id_column, name)
    ids, spans = [], []
    for row in rows:
        if len(row) == 1 and not row[0].value.strip():
            continue  # an empty line
        if len(row) != len(header):
            raise DataError(
                f"line {_line(text, row[0].start)} of the template has {len(row)} cells and its header {len(header)}",
                name,
                "quote a cell that holds the separator",
            )
        ids.append(row[picture].value)
        spans.append((row[label].start, row[label].end))
    if not ids:
        raise DataError("the template has no rows", name, "add a row for each picture")
    _refuse_twice(ids, columns[picture], name)
    return Template(name, text, separator, tuple(ids), tuple(spans))


def _rows(text: str, separator: str, name: str) -> Iterator[list[Cell]]:
    """The rows as :mod:`csv` reads them, but strictly, and with the places of their cells."""
    apart = re.escape(separator)
    # A quoted cell, or a plain one, or an empty one; then what ends it.
    pattern = re.compile(rf'(?:"((?:[^"]|"")*+)"|([^"{apart}\r\n][^{apart}\r\n]*)|)({apart}|\r\n|[\r\n]|\Z)')
    row: list[Cell] = []
    at = len(_BOM) if text.startswith(_BOM) else 0
    while at < len(text) or row:
        found = pattern.match(text, at)
        if found is None:
            raise DataError(
                f"line {_line(text, at)} of the template has a quote that is not closed, or text behind one",
                name,
                'quote the whole cell, and double the quotes inside it: "a ""b"" c"',
            )
        value = found[1].replace('""', '"') if found[1] is not None else found[2] or ""
        row.append(Cell(found.start(), found.start(3), value))
        at = found.end()
        if found[3] != separator:
            yield row
            row = []


def _width(text: str, separator: str) -> int:
    """How many columns the header has, if ``separator`` separates them."""
    try:
        return len(next(_rows(text, separator, ""), []))
    except DataError:
        return 0


def _line(text: str, at: int) -> int:
    return len(re.findall(r"\r\n|[\r\n]", text[:at])) + 1


def _columns(columns: list[str], label: str | None, picture: str | None, name: str) -> tuple[int, int]:
    """The numbers of the column to fill and of the one that names pictures."""
    wanted_id = _named(columns, picture, "--id-column", name) if picture is not None else None
    if label is not None:
        wanted = _named(columns, label, "--label-column", name)
    else:
        others = [number for number in range(len(columns)) if number != wanted_id]
        known = _known(columns, others, LABEL_NAMES)
        if known is None and len(columns) == 2:
            known = others[-1]
        if known is None:
            raise ConfigError(
                "it is not clear which column of the template is to be filled",
                f"--template {name}; its columns: {_list(columns)}",
                "name it: --label-column NAME",
            )
        wanted = known
    if wanted == wanted_id:
        raise ConfigError(
            f"--label-column and --id-column name one column, {printable(columns[wanted])!r}",
            f"--template {name}",
            f"name two of: {_list(columns)}",
        )
    if wanted_id is None:
        others = [number for number in range(len(columns)) if number != wanted]
        known = _known(columns, others, ID_NAMES)
        wanted_id = others[0] if known is None else known
    return wanted, wanted_id


def _known(columns: list[str], among: Iterable[int], names: frozenset[str]) -> int | None:
    """The only column of ``among`` that has one of ``names``."""
    found = [number for number in among if columns[number].strip().casefold() in names]
    return found[0] if len(found) == 1 else None


def _named(columns: list[str], wanted: str, option: str, name: str) -> int:
    found = [number for number, column in enumerate(columns) if column == wanted]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} columns" if found else "no column"
    raise ConfigError(
        f"the template has {what} {printable(wanted)!r}", f"{option}; --template {name}", f"it has: {_list(columns)}"
    )


def _list(columns: Iterable[str]) -> str:
    return ", ".join(printable(column) for column in columns)


def _refuse_twice(ids: list[str], column: str, name: str) -> None:
    twice = [one for one, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(
            f"pictures in more than one row of the template: {len(twice)}",
            f"{name}, column {printable(column)!r}: {_first(twice)}",
            "name the column that tells the rows apart: --id-column NAME",
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was given.

    Attributes:
        path: as ``predict`` prints it.
        below: the path relative to the given folder; ``path`` for a picture that was given itself.
        refused: why it is not read; empty if it may be.
    """

    path: str
    below: str
    refused: str = ""


def given(paths: Iterable[str]) -> list[Picture]:
    """The pictures that ``paths`` stand for, files and those below folders and in archives, each path once.

    A picture that does not exist is one that cannot be read, as in a prediction without a template.

    Raises:
        DataError: a folder does not exist, or cannot be listed; nor can an archive.
    """
    from clsfit.data.archive import Archive, in_archive  # numpy and Pillow, which --help does without

    found: dict[tuple[str, str], Picture] = {}
    for path in paths:
        if os.path.isdir(path):
            inside = [(os.path.join(path, below), below, reason) for below, reason in _listed(path)]
        elif not is_picture(path) and (place := in_archive(path)) is not None:
            inside = [(f"{place[0]}/{below}", below, reason) for below, reason in Archive(place[0]).below(place[1])]
        elif is_picture(path) or os.path.lexists(path):
            inside = [(path, path, "")]
        else:
            raise DataError("the folder of pictures does not exist", printable(path), "check the path")
        for whole, below, reason in inside:
            found.setdefault((whole, below), Picture(whole, below, reason))
    return list(found.values())


def _listed(folder: str) -> list[tuple[str, str]]:
    """The path below ``folder`` of each picture, and why it is refused or an empty text."""
    try:
        found = walk(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"the folder cannot be read: {reason}", printable(folder)) from error
    reasons = dict(found.faults)
    return [(below, reasons.get(below, "")) for below in [picture[0] for picture in found.pictures] + list(reasons)]


FORMS: tuple[Callable[[Picture], str], ...] = (
    lambda picture: picture.path,
    lambda picture: picture.below,
    lambda picture: os.path.basename(picture.path),
    lambda picture: os.path.splitext(os.path.basename(picture.path))[0],
)
"""What an id may be, in the order in which it is tried; one form for all rows."""


def match(template: Template, pictures: Sequence[Picture]) -> list[Picture]:
    """The picture of each row, by the first of :data:`FORMS` in which each id names exactly one.

    Raises:
        DataError: there is no such form; the error is about the one in which most ids do.
    """
    best: list[dict[str, Picture]] = []
    most = -1
    for form in FORMS:
        named: dict[str, dict[str, Picture]] = {one: {} for one in template.ids}
        for picture in pictures:
            key = form(picture)
            if key in named:
                named[key].setdefault(picture.path, picture)
        single = sum(len(found) == 1 for found in named.values())
        if single > most:
            best, most = [named[one] for one in template.ids], single
        if single == len(template.ids):
            break
    missing = [one for one, found in zip(template.ids, best, strict=True) if not found]
    if missing:
        raise DataError(
            f"rows of the template without a picture: {len(missing):,} of {len(template.ids):,}",
            f"{template.name}: {_first(missing)}",
            "give the folder that has them, or name the column of their file names: --id-column NAME",
        )
    double = [(one, found) for one, found in zip(template.ids, best, strict=True) if len(found) > 1]
    if double:
        raise DataError(
            f"rows of the template that could mean more than one picture: {len(double):,} of {len(template.ids):,}",
            f"{template.name}: {_first([one for one, _ in double])}; the first: {_first(list(double[0][1]))}",
            "give only the folder that is meant",
        )
    return [picture for found in best for picture in found.values()]


def _first(texts: Sequence[str]) -> str:
    """The first three of ``texts``."""
    return ", ".join(printable(text) or "(empty)" for text in texts[:3]) + (", ..." if len(texts) > 3 else "")
