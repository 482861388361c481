"""A table of pictures as JSON Lines: an object per picture, whose keys are the columns. Read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from clsfit.data.columns import GUESSED, Columns
from clsfit.data.table_rows import NEEDED, Rows, decoded, fault_at, places_of, rows_of
from clsfit.errors import printable

SUFFIXES = (".jsonl", ".ndjson")
"""Endings, in lower case, of the files that are read so."""

LONGEST_LINE = 1 << 20
"""Characters of the longest line that is read."""

_LINE_ENDS = re.compile(r"\r\n|\r|\n")  # str.splitlines also parts at characters that JSON texts may hold


def read_rows(name: str, data: bytes, columns: Columns = GUESSED, needed: Sequence[str] = NEEDED) -> Rows:
    """The rows of a table; blank lines are skipped.

    Texts, numbers, ``true`` and ``false`` are cells as they are written, ``null`` and a key that a line lacks are
    empty ones. What lies under keys that are not used may be anything.

    Args:
        name: the table's path, for messages.
        data: its bytes: UTF-8, or UTF-16 with a byte order mark.
        columns: names that are not guessed.
        needed: what there must be columns for.

    Raises:
        ConfigError: a column of ``columns`` is not there.
        DataError: with the line, where the table is not as the manual says.
    """
    lines: list[int] = []
    objects: list[dict[str, Any]] = []
    for line, text in enumerate(_LINE_ENDS.split(decoded(name, data)), start=1):
        if text.strip():
            objects.append(_object(name, line, text))
            lines.append(line)
    keys = list({key: None for one in objects for key in one})  # in the order in which they first come
    header = [key.strip() for key in keys]
    places = places_of(name, header, columns, needed) if lines else {}
    cells = {
        column: [_cell(name, line, column, one.get(keys[place])) for line, one in zip(lines, objects, strict=True)]
        for column, place in places.items()
    }
    return rows_of(name, header, places, lines, cells, unlabelled=columns.split == "" or needed != NEEDED)


def _object(name: str, line: int, text: str) -> dict[str, Any]:
    if len(text) > LONGEST_LINE:
        raise fault_at(f"a line is longer than {LONGEST_LINE:,} characters", name, line, "write one picture per line")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what = f"a line is no JSON: {error.msg.lower()}, at character {error.pos + 1}"
        raise fault_at(what, name, line, "write one object per line, as JSON does") from error
    except _NotStrictError as error:
        raise fault_at(str(error), name, line, "write one object per line, each key once") from error
    except RecursionError as error:
        raise fault_at("a line is nested too deeply", name, line, "write one flat object per line") from error
    if not isinstance(value, dict):
        raise fault_at("a line is no object", name, line, 'write {"path": "a.png", "label": "cat"} on each line')
    return value


def _cell(name: str, line: int, column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        kind = "an object" if isinstance(value, dict) else "a list"
        raise fault_at(f"the {column} is {kind}", name, line, "write a text or a number")
    if not value.isascii() or "\0" in value:
        _refuse_no_text(name, line, column, value)
    return value


def _refuse_no_text(name: str, line: int, column: str, value: str) -> None:
    """Refuses what JSON can write by escapes, but no file's name can be."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise fault_at(f"the {column} holds half of a surrogate pair", name, line, "write it as UTF-8") from error
    if "\0" in value:
        raise fault_at(f"the {column} holds a NUL character", name, line, "remove it")


class _NotStrictError(Exception):
    """What Python's reader would let pass."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotStrictError(f"the key {printable(twice[:80])!r} is twice in a line")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _NotStrictError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once, parse_constant=_no_constant, parse_int=str, parse_float=str)
