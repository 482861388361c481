"""Columns that a user names: they are used whatever they are called, and never guessed beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clsfit.data.columns import Columns
from clsfit.data.intake import open_path
from clsfit.data.table import SampleTable
from clsfit.errors import ClsfitError, ConfigError, DataError

HEADER = ("where", "path", "kind", "label", "who", "part", "times")
ROWS = [
    ("a.png", "x", "cat", "1", "p1", "train", "2"),
    ("b.png", "y", "dog", "2", "p2", "val", "0.5"),
    ("c.png", "z", "dog", "3", "p3", "train", "1"),
]
ALL = Columns(path="where", label="kind", group="who", split="part", weight="times")


@pytest.fixture(params=["csv", "tsv", "jsonl"])
def table(request: pytest.FixtureRequest, make_tree: Callable[..., Path]) -> Path:
    """The same table, in each of the ways to write it."""
    path = make_tree(["a.png", "b.png", "c.png"]) / f"t.{request.param}"
    if request.param == "jsonl":
        text = "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS)
    else:
        between = {"csv": ",", "tsv": "\t"}[request.param]
        text = "".join(between.join(row) + "\n" for row in (HEADER, *ROWS))
    path.write_text(text)
    return path


def test_they_say_what_is_what(table: Path) -> None:
    found: SampleTable = open_path(str(table), columns=ALL).table()
    assert found.paths == ("a.png", "b.png", "c.png")
    assert found.labels() == ("cat", "dog", "dog")
    assert found.groups == ("p1", "p2", "p3")
    assert found.splits == ("train", "val", "train")
    assert found.weights is not None
    assert found.weights.tolist() == [2, 0.5, 1]


def test_the_others_are_guessed(table: Path) -> None:
    found = open_path(str(table), columns=Columns(path="where")).table()
    assert found.labels() == ("1", "2", "3")
    assert (found.groups, found.weights, set(found.splits)) == ((), None, {""})


@pytest.mark.parametrize("meaning", ["path", "label", "group", "split", "weight"])
def test_one_that_is_not_there(table: Path, meaning: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_path(str(table), columns=Columns(**{meaning: "Kind"}))  # as written, so not "kind"
    text = str(caught.value)
    assert "has no column 'Kind'" in text
    assert "where, path, kind" in text
    assert len(text.splitlines()) <= 3
    assert caught.value.exit_code == 2


def test_one_that_is_there_twice(make_tree: Callable[..., Path]) -> None:
    path = make_tree(["a.png", "b.png"]) / "t.csv"
    path.write_text("path,kind,kind\na.png,x,y\nb.png,y,x\n")
    with pytest.raises(ConfigError, match="two columns 'kind'"):
        open_path(str(path), columns=Columns(label="kind"))


def test_two_that_may_be_meant_are_told_apart(make_tree: Callable[..., Path]) -> None:
    path = make_tree(["a.png", "b.png"]) / "t.csv"
    path.write_text("path,label,class\na.png,x,1\nb.png,y,2\n")
    with pytest.raises(DataError, match="--label-column"):
        open_path(str(path))
    assert open_path(str(path), columns=Columns(label="class")).table().classes == ("1", "2")


def test_the_separator_is_the_one_that_gives_them(make_tree: Callable[..., Path]) -> None:
    path = make_tree(["a.png", "b.png"]) / "t.csv"
    path.write_text("a,b,c,where;kind\n1,2,3,a.png;x\n".replace("1,2,3,", "") + "b.png;y\n")
    assert open_path(str(path), columns=Columns(path="a,b,c,where", label="kind")).table().paths == ("a.png", "b.png")


def test_data_without_columns(make_tree: Callable[..., Path]) -> None:
    folder = make_tree(["cat/a.png", "dog/b.png"])
    with pytest.raises(ClsfitError, match="DATA is no table") as caught:
        open_path(str(folder), columns=Columns(label="kind"))
    assert caught.value.exit_code == 2
