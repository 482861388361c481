"""Which columns of a Parquet file are for what, and their cells as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from clsfit.data.columns import OPTIONS, Columns
from clsfit.data.table_rows import PATHS, fault_at, places_of
from clsfit.errors import DataError, printable
from clsfit_parquet.file import File, Leaf, reading

PICTURES = ("bytes", "image_bytes", "img_bytes", "content", "jpg", "jpeg", "png", "webp")
"""Names of a column of bytes that is taken for the pictures beside another of paths, in any case."""

ROW = "row"
"""What is counted in messages."""

_BYTES, _PATH = "bytes", "path"  # fields of a picture as Hugging Face's datasets write it
_TEXTS = 1 << 29  # characters of a column's cells, together


@dataclass(frozen=True)
class Places:
    """Where things stand in the file.

    Attributes:
        places: column numbers by what they are for: path, label, and those of group, split, weight that are there.
        bytes: of the pictures; None where the column has their paths.
        name: where the names of pictures stand that are given as bytes; None: nowhere.
        also: numbers of columns that are used besides.
        class_names: of labels that are numbers, in their order; empty: labels say themselves.
    """

    places: dict[str, int]
    bytes: Leaf | None = None
    name: Leaf | None = None
    also: tuple[int, ...] = ()
    class_names: tuple[str, ...] = field(default=())


def find(file: File, columns: Columns) -> Places:
    """What the columns of a file are for, by their names and types.

    Raises:
        DataError: there is no column for the pictures or for the label, or several may be it.
        ConfigError: a column of ``columns`` is not there.
    """
    names = list(file.schema.names)
    kinds = [file.schema.field(place).type for place in range(len(names))]
    pictures = [place for place, kind in enumerate(kinds) if _bytes_of(kind) is not None]
    chosen = columns.path if columns.path is not None else _guessed(file, names, pictures)
    places = places_of(file.path, names, replace(columns, path=chosen))
    for meaning, place in places.items():
        if not _holds_cells(kinds[place]) and (meaning != "path" or place not in pictures):
            kind = printable(str(kinds[place])[:80])
            raise DataError(
                f"the column {printable(names[place])} for the {meaning} is of type {kind}",
                printable(file.path),
                "write it as texts, numbers or truth values",
            )
    found = Places(places, class_names=_class_names(file, names[places["label"]], kinds[places["label"]]))
    at = places["path"]
    if at not in pictures:
        return found
    top, kind = names[at], kinds[at]
    besides = [p for p, name in enumerate(names) if name.lower() in PATHS and p != at and _is_text(kinds[p])]
    if types.is_struct(kind):
        leaf = Leaf(top, f"{top}.{_BYTES}")
        if kind.get_field_index(_PATH) >= 0 and _is_text(kind.field(_PATH).type):
            return replace(found, bytes=leaf, name=Leaf(top, f"{top}.{_PATH}"))
    else:
        leaf = Leaf(top, top)
    if len(besides) != 1:
        return replace(found, bytes=leaf)
    return replace(found, bytes=leaf, name=Leaf(names[besides[0]], names[besides[0]]), also=(besides[0],))


def _guessed(file: File, names: Sequence[str], pictures: Sequence[int]) -> str | None:
    """The column of the pictures, where there is one of bytes; None: it is one of paths, if any."""
    for usual in (PATHS, PICTURES):
        found = [place for place in pictures if names[place].lower() in usual]
        if len(found) > 1:
            raise _several(file, names, found)
        if found:
            return names[found[0]]
    others = [place for place, name in enumerate(names) if name.lower() in PATHS]
    if pictures and len(pictures) + len(others) > 1:
        raise _several(file, names, [*others, *pictures])
    return names[pictures[0]] if pictures else None


def _several(file: File, names: Sequence[str], found: Sequence[int]) -> DataError:
    return DataError(
        f"two columns may hold the pictures: {' and '.join(printable(names[place]) for place in found[:2])}",
        printable(file.path),
        f"name it with {OPTIONS['path']}",
    )


def _bytes_of(kind: pa.DataType) -> pa.DataType | None:
    """The type of the bytes in a column of pictures; None where it is none."""
    if types.is_struct(kind):
        place = kind.get_field_index(_BYTES)
        return _bytes_of(kind.field(place).type) if place >= 0 and not types.is_struct(kind.field(place).type) else None
    if types.is_dictionary(kind):
        kind = kind.value_type
    return kind if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind) else None


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _holds_cells(kind: pa.DataType) -> bool:
    """Whether a column's values may be a table's cells."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)
    return bool(number or _is_text(kind) or (_bytes_of(kind) is not None and not types.is_struct(kind)))


def _class_names(file: File, label: str, kind: pa.DataType) -> tuple[str, ...]:
    """What the numbers in a column of labels mean, as Hugging Face's datasets write it."""
    if not types.is_integer(kind):
        return ()
    try:
        about = json.loads((file.schema.metadata or {})[b"huggingface"])
        names = about["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    right = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    return tuple(names) if right else ()


def texts(file: File, leaf: Leaf, meaning: str) -> list[str]:
    """The cells of a column, a text each; empty where there is none.

    Raises:
        DataError: with the row, where one is no text; the file is damaged.
    """
    found: list[str] = []
    length = 0
    with reading(file.path):
        for values in file.values(leaf):
            if leaf.path != leaf.top:
                values = pc.struct_field(values, [values.type.get_field_index(leaf.path[len(leaf.top) + 1 :])])
            cells = [_cell(file, meaning, len(found) + i, value) for i, value in enumerate(values.to_pylist(), 1)]
            length += sum(map(len, cells))
            if length > _TEXTS:
                raise DataError(f"the column of the {meaning} is longer than {_TEXTS:,}", printable(file.path))
            found += cells
        if len(found) != len(file):
            raise ValueError(f"the column of the {meaning} has not as many cells as there are rows")
    return found


def _cell(file: File, meaning: str, row: int, value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fault_at(f"the {meaning} is no UTF-8", file.path, row, "write it as text", ROW) from error
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if value != value else repr(value)
    text = str(value)
    if "\0" in text:
        raise fault_at(f"the {meaning} holds a NUL character", file.path, row, "remove it", ROW)
    return text


def named(file: File, cells: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Labels by name, where they are numbers of ``class_names``; -1 is unlabelled.

    Raises:
        DataError: with the row, where a number is none of them.
    """
    names = {"": "", "-1": ""} | {str(number): name for number, name in enumerate(class_names)}
    for row, cell in enumerate(cells, start=1):
        if cell not in names:
            what = f"the label {printable(cell)} is none of the {len(class_names)} classes that the file names"
            raise fault_at(what, file.path, row, "", ROW)
    return [names[cell] for cell in cells]
