"""Tables as JSON Lines: the same rows as in CSV, and what JSON could say that a table cannot."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit.data import table_text
from clsfit.data.intake import open_path
from clsfit.data.table_file import TableSource, table_file
from clsfit.data.table_jsonl import LONGEST_LINE, read_rows
from clsfit.data.table_rows import LONGEST
from clsfit.errors import DataError

GOOD = '{"path": "a.png", "label": "cat"}\n{"path": "b.png", "label": "dog"}\n'

Write = Callable[..., Path]


@pytest.fixture
def write(make_tree: Callable[..., Path]) -> Write:
    """``write(text)``: a table beside the pictures a.png, b.png, c.png and deep/d.png."""
    top = make_tree(["a.png", "b.png", "c.png", "deep/d.png"])

    def run(text: str | bytes, name: str = "labels.jsonl") -> Path:
        (top / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return top / name

    return run


def _refused(text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_rows("labels.jsonl", text.encode() if isinstance(text, str) else text)
    said = str(caught.value)
    assert len(said.splitlines()) <= 3
    assert "labels.jsonl" in said
    return said


def lines(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        codecs.BOM_UTF8 + GOOD.encode(),
        codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        b"\n  \n" + GOOD.replace("\n", "\n\n\t\n").encode(),
        b' {"Label ":" cat ","x":[{"deep":null}],"Image":"a.png"}\n{"Image":"b.png","Label ":"dog"}',
    ],
)
@pytest.mark.parametrize("name", ["labels.jsonl", "labels.NDJSON"])
def test_one_table_in_many_spellings(write: Write, data: bytes, name: str) -> None:
    source = open_path(str(write(data, name)))
    assert isinstance(source, TableSource)
    assert dict(zip(source.table().paths, source.table().labels(), strict=True)) == {"a.png": "cat", "b.png": "dog"}


def test_optional_columns(write: Write) -> None:
    rows = (
        {"path": "a.png", "label": "cat", "group": "p1", "split": "train", "weight": 1, "width": 9},
        {"path": "b.png", "label": "dog", "group": "p2", "split": "Validation", "weight": 0.5},
        {"path": "c.png", "group": "p3", "split": "test", "weight": "2e0", "box": [1, 2]},
        {"path": "deep/d.png", "label": "dog", "group": "p1", "split": None, "weight": 0},
    )
    source = table_file(write(lines(*rows)))
    table = source.table()
    assert table.groups == ("p1", "p2", "p3", "p1")
    assert table.splits == ("train", "val", "test", "")
    assert table.weights is not None
    assert table.weights.tolist() == [1, 0.5, 2, 0]
    assert table.targets.tolist() == [0, 1, -1, 1]
    assert source.notes == ("columns that are not used: width, box", "val has no pictures of: cat")
    assert source.read(1) == (Path(source.root) / "b.png").read_bytes()


def test_values_are_texts_as_they_are_written() -> None:
    written = ["007", 7, 7.0, True, False, "NA"]
    read = read_rows("t", lines(*({"path": f"{i}", "label": one} for i, one in enumerate(written))).encode())
    assert read.labels == ["007", "7", "7.0", "true", "false", "NA"]
    long = '{"path": 1e2, "label": ' + "9" * 5000 + "}"  # more digits than Python would make a number of
    assert read_rows("t", long.encode()).paths == ["1e2"]


def test_a_line_is_counted_as_an_editor_counts() -> None:
    read = read_rows("t", '\n{"path": "a\\u2028b", "label": "x\u2028y"}\n\n{"path": "b", "label": "y"}'.encode())
    assert read.lines == [2, 4]
    assert read.labels == ["x\u2028y", "y"]
    assert read.paths == ["a\u2028b", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the table has no rows"),
        ("\n \n", "the table has no rows"),
        ("{}\n", "no column for the path"),
        (lines({"path": "a", "image": "a", "label": "x"}), "two columns may be the path: path and image"),
        (lines({"path": "a", "label": "x"}, {"file": "b", "label": "y"}), "two columns may be the path: path and file"),
        (lines({"path": "a", "label": "x"}, {"Path ": "b", "label": "y"}), "two columns may be the path"),
        (lines({"name": "a", "label": "x"}), "its columns: name, label"),
        (GOOD + "[1, 2]\n", "line 3\nwrite"),
        (GOOD + '"text"\n', "a line is no object"),
        (GOOD + "17\n", "a line is no object"),
        (GOOD + "null\n", "a line is no object"),
        ('{\n  "path": "a.png",\n  "label": "cat"\n}\n', "line 1"),
        (GOOD + '{"path": "c.png", "label": "cat",}\n', "a line is no JSON"),
        (GOOD + '{"path": "c.png", "label": "cat"} {}\n', "a line is no JSON: extra data, at character 35"),
        (GOOD + "{'path': 'c.png'}\n", "line 3"),
        (GOOD + '{"path": "c\tb", "label": "cat"}\n', "a line is no JSON"),
        (GOOD + '{"path": "c", "label": "cat", "label": "dog"}\n', "the key 'label' is twice in a line"),
        (GOOD + '{"path": "c", "label": "cat", "box": {"x": 1, "x": 2}}\n', "the key 'x' is twice"),
        (lines({"path": "a", "label": float("nan")}), "NaN is no JSON"),
        (GOOD + '{"path": "c", "label": "x", "box": [-Infinity]}\n', "-Infinity is no JSON"),
        (lines({"path": "a", "label": ["x"]}), "the label is a list"),
        (lines({"path": {"a": 1}, "label": "x"}), "the path is an object"),
        (GOOD + "[" * 200_000 + "\n", "nested too deeply"),
        (GOOD + '{"path": "c", "label": "x", "y": ' + "[" * 200_000 + "]" * 200_000 + "}\n", "line 3"),
        (GOOD + " " * (LONGEST_LINE + 1) + "\n" + GOOD.replace("a.png", "c" * (LONGEST + 1)), "line 4"),
        (GOOD + json.dumps({"path": "c", "label": "x", "y": "z" * LONGEST_LINE}), "a line is longer than 1,048,576"),
        (GOOD + '{"path": "c\\u0000", "label": "x"}\n', "the path holds a NUL"),
        (GOOD + '{"path": "c", "label": "\\udc80"}\n', "half of a surrogate pair"),
        (GOOD + "\0\n", "NUL"),
        (GOOD.encode() + b'{"path": "\xe8", "label": "x"}\n', "line 3"),
        (GOOD.encode("utf-16-le"), "save it as UTF-8"),
        (b"PK\x03\x04" + bytes(range(256)), "labels.jsonl"),
        (lines({"path": "a", "label": "x"}, {"path": None, "label": "x"}), "line 2"),
        (lines({"path": "a", "label": "x"}, {"label": "x"}), "the path is empty"),
        (lines({"path": "a", "label": "x"}, {"path": "b"}), "the label is empty"),
        (lines({"path": "a", "label": "x", "split": "dev"}), "split 'dev' is not known"),
        (lines({"path": "a", "label": "x", "group": "g"}, {"path": "b", "label": "x"}), "the group is empty"),
        (lines({"path": "a", "label": "x", "weight": -1}), "weight is no finite number"),
        ('{"path": "a", "label": "x", "weight": 1e999}', "line 1"),
        (lines({"path": "a", "label": "x", "weight": True}), "weight is no finite number"),
    ],
)
def test_unusable_tables(text: str | bytes, said: str) -> None:
    assert said in _refused(text)


def test_what_is_named_twice_is_told_with_both_lines(write: Write) -> None:
    with pytest.raises(DataError, match="lines 1 and 4"):
        table_file(write(GOOD + "\n" + lines({"path": "./a.png", "label": "dog"})))


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=8)
ROWS = st.lists(st.tuples(CELLS.filter(str.strip), CELLS.filter(str.strip)), min_size=1, max_size=8)


@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=100, deadline=None)
def test_the_rows_are_those_of_the_same_csv(rows: list[tuple[str, str]], ascii: bool, line_end: str) -> None:
    objects = [json.dumps({"path": path, "label": label}, ensure_ascii=ascii) for path, label in rows]
    read = read_rows("t.jsonl", line_end.join(objects).encode())
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("path", "label"), *rows])
    same = table_text.read_rows("t.csv", out.getvalue().encode())
    assert (read.paths, read.labels) == (same.paths, same.labels)
    assert read.lines == list(range(1, len(rows) + 1))


@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["path", "label", "Label", "split"]), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_table_or_an_error_of_the_data(data: bytes) -> None:
    try:
        rows = read_rows("t.jsonl", data)
    except DataError as error:
        said = str(error).splitlines()
    else:
        assert len(rows.lines) == len(rows.paths) == len(rows.labels) > 0
        said = []
    assert len(said) <= 3
