"""CSV and JSON lines, for every string and every float."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsfit.cli import tables
from clsfit.errors import ConfigError

# What os.fsdecode can return: text, with bytes that are no UTF-8 as lone surrogates.
names = st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@given(st.lists(st.tuples(names, st.floats(allow_nan=False)), max_size=5))
def test_csv_reads_back_equal_to_the_bit(rows: list[tuple[str, float]]) -> None:
    data = b"".join(tables.lines("csv", ["name", "value"], rows))
    text = data.decode("utf-8", "surrogateescape")
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read[0] == ["name", "value"]
    assert [(name, float(value)) for name, value in read[1:]] == rows
    assert [value for _, value in read[1:]] == [repr(value) for _, value in rows]


@given(st.lists(st.tuples(names, st.floats()), max_size=5))
def test_json_lines_read_back_equal_and_are_valid_utf8(rows: list[tuple[str, float]]) -> None:
    read = [json.loads(line) for line in b"".join(tables.lines("jsonl", ["name", "value"], rows)).decode().splitlines()]
    assert [list(row) for row in read] == [["name", "value"]] * len(rows)
    for row, (name, value) in zip(read, rows, strict=True):
        assert row["name"] == name
        assert row["value"] == (value if math.isfinite(value) else None)


def test_lines_end_with_a_line_feed_alone() -> None:
    assert tables.csv_line(["a", None, 1.0, 3]) == b"a,,1.0,3\n"


def test_a_carriage_return_is_quoted() -> None:
    assert tables.csv_line(["a\rb"]) == b'"a\rb"\n'


def test_json_stays_readable_where_it_can() -> None:
    assert tables.json_text({"ü": [math.nan, (1.5,)]}) == '{"ü": [null, [1.5]]}'


def test_the_ending_names_the_format(tmp_path: Path) -> None:
    assert tables.format_of(tmp_path / "x.csv", "-o") == "csv"
    assert tables.format_of(tmp_path / "x.jsonl", "-o") == "jsonl"
    for wrong in (tmp_path / "x.json", tmp_path / "no" / "x.csv", tmp_path):
        with pytest.raises(ConfigError):
            tables.format_of(wrong, "-o")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def rows() -> object:
        yield ["a"]
        raise RuntimeError("half way")

    path = tmp_path / "x.csv"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        tables.write(path, ["name"], rows(), option="-o")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    tables.write(path, ["name"], [["a"]], option="-o")
    assert path.read_bytes() == b"name\na\n"
