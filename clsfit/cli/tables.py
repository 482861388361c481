"""Rows for machines: CSV and JSON lines, on stdout as they come or durably into a file.

CSV is UTF-8 with ``\\n`` after each row; bytes of a file name that are no UTF-8 come out as they are
on disk. Numbers have the shortest form that reads back as the same number; a value that does not
exist is an empty cell, in JSON ``null``.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from clsfit.errors import ConfigError, ResourceError, printable
from clsfit.shortage import remedy_of

Row = Sequence[Any]
Format = Literal["csv", "jsonl"]


def cell(value: Any) -> str:
    """One CSV cell: a float in its shortest exact form, None as nothing, all else as it is."""
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def csv_line(row: Row) -> bytes:
    """One line of CSV."""
    text = io.StringIO()
    # With "\r\n" as its terminator the module quotes cells that hold either character.
    csv.writer(text, lineterminator="\r\n").writerow([cell(value) for value in row])
    return text.getvalue()[:-2].encode("utf-8", "surrogateescape") + b"\n"


def json_text(value: Any, *, indent: int | None = None) -> str:
    """``value`` as JSON: what is no finite number is null; text stays readable where it can."""
    clean = _without_nan(value)
    text = json.dumps(clean, ensure_ascii=False, allow_nan=False, indent=indent)
    if any("\ud800" <= c <= "\udfff" for c in text):  # a file name that is no UTF-8: escaped, as JSON can
        text = json.dumps(clean, allow_nan=False, indent=indent)
    return text


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def lines(form: Format, columns: Row, rows: Iterable[Row]) -> Iterator[bytes]:
    """``rows`` as lines of ``form``; CSV begins with ``columns``, in JSON they are the keys."""
    if form == "csv":
        yield csv_line(columns)
        for row in rows:
            yield csv_line(row)
    else:
        for row in rows:
            yield json_text(dict(zip(columns, row, strict=True))).encode() + b"\n"


def format_of(path: Path, option: str) -> Format:
    """What a file is to hold, by its ending; without one it is CSV.

    Raises:
        ConfigError: another ending, or a folder that does not exist; before anything is computed.
    """
    if path.suffix not in {".csv", ".jsonl", ""}:
        raise ConfigError(
            f"no such table format: {printable(path.suffix)}",
            f"{option} {printable(str(path))}",
            "name a file that ends in .csv or .jsonl",
        )
    check_place(path, option)
    return "jsonl" if path.suffix == ".jsonl" else "csv"


def check_place(path: Path, option: str) -> None:
    """Checks that a file can lie at ``path``, before anything is computed.

    Raises:
        ConfigError: it is a folder, or in one that does not exist.
        ResourceError: nothing may be written there.
    """
    named = f"{option} {printable(str(path))}"
    if path.is_dir():
        raise ConfigError(f"{printable(str(path))} is a folder, not a file", named, "name a file in it")
    if not path.parent.is_dir():
        there = path.parent.exists()
        what = "is a file, not a folder" if there else "does not exist"
        raise ConfigError(
            f"{printable(str(path.parent))} {what}", named, "name another place" if there else "make it first"
        )
    from clsfit.storage.stream import is_redirected, is_stream

    if not is_redirected(path) and not os.access(path if is_stream(path) else path.parent, os.W_OK):
        raise ResourceError("it may not be written to", named, "change its rights, or name another place")


def keep_out(output: Path, data: str, option: str) -> None:
    """Refuses an output that would be written into the data set, or over the table that is one.

    Raises:
        ConfigError: as said.
    """
    place, source = os.path.realpath(output), os.path.realpath(data)
    if place == source or (os.path.isdir(source) and os.path.join(place, "").startswith(os.path.join(source, ""))):
        raise ConfigError(
            "it would be written into the data set, which clsfit never does",
            f"{option} {printable(str(output))}; DATA {printable(data)}",
            "name a file outside of DATA",
        )


def write(path: Path | None, columns: Row, rows: Iterable[Row], *, option: str) -> None:
    """Writes a table, to stdout row by row, or to ``path`` whole: a reader finds all of it or nothing new.

    Args:
        path: the file, or None for CSV on stdout.
        columns: names, unique.
        rows: as many values each as there are columns.
        option: how the user named ``path``, for messages.
    """
    put_all(path, lines(format_of(path, option) if path is not None else "csv", columns, rows))


def put_all(path: Path | None, pieces: Iterable[bytes], *, failpoint: str = "predictions") -> None:
    """Writes ``pieces`` to stdout or a stream one by one, or into the file ``path``, whole and durably.

    ``failpoint`` is what the failpoints of the write are named after.
    """
    if path is not None:
        from clsfit.storage.durable import write_file
        from clsfit.storage.stream import is_stream, write_stream

        if is_stream(path):
            write_stream(path, pieces)
        else:
            write_file(path, pieces, failpoint=failpoint)
        return
    for piece in pieces:
        put(piece)


def put(data: bytes | str) -> None:
    """Writes to stdout at once, whatever the locale's encoding; a text gets a line end.

    Raises:
        BrokenPipeError: its reader has left.
        ResourceError: it cannot be written.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape") + b"\n"
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        remedy = remedy_of(error) or "send the output elsewhere"
        raise ResourceError(error.strerror or type(error).__name__, "standard output", remedy) from error
