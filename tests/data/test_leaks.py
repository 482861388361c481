"""Which pictures are in two splits: the same bytes, all of them, and in no other case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clsfit.data import checks, leaks
from clsfit.data.sources import folder

Tree = Callable[..., Path]
HEAD = bytes(range(256)) * 40  # longer than what is read first
CONTENT = {
    "train/cat/a.png": HEAD + b"a",
    "train/cat/twin.png": HEAD + b"a",  # of the same split
    "train/dog/b.png": b"other",
    "val/cat/c.png": HEAD + b"c",  # as long, begins alike
    "val/dog/d.png": b"longer than the others",
}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_differs_late_or_lies_in_one_split_is_none(make_tree: Tree, workers: int) -> None:
    source = folder(make_tree(CONTENT))
    assert leaks.describe(source, source.table(), workers) == ()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_bytes_are_named_with_their_splits(make_tree: Tree, workers: int) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a"}))
    (line,) = leaks.describe(source, source.table(), workers)
    assert "1 picture is in two splits, byte for byte" in line
    assert line.endswith("val/cat/c.png (val) = train/cat/a.png (train)")


def test_a_picture_that_vanishes_meanwhile_is_left_out(make_tree: Tree) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a", "val/dog/d.png": b"other"}))
    (Path(source.root) / "train/dog/b.png").unlink()
    (line,) = leaks.describe(source, source.table(), 0)
    assert "1 picture is" in line
    assert "b.png" not in line


@pytest.mark.parametrize("known", [True, False])
def test_equal_pictures_are_found_by_known_digests(make_tree: Tree, opened: list[str], known: bool) -> None:
    source = folder(
        make_tree(
            {
                "train/x/small.png": b"same",
                "train/y/other.png": b"else",
                "train/x/large.png": HEAD + b"a",
                "val/x/again.png": b"same",
                "val/y/large.png": HEAD + b"a",
                "val/x/differs.png": HEAD + b"b",
            }
        )
    )
    digests = checks.scan(source, source.table(), 0).digests if known else {}
    opened.clear()
    (line,) = leaks.describe(source, source.table(), 0, digests)
    assert "2 pictures are" in line
    assert "val/x/again.png (val) = train/x/small.png (train)" in line
    assert "val/y/large.png (val) = train/x/large.png (train)" in line
    assert any("small" in path or "again" in path for path in opened) is not known


def test_digests_belong_to_the_rows_of_the_source(make_tree: Tree) -> None:
    content = {"train/x/0.png": b"else", "train/x/1.png": b"same", "train/y/0.png": b"a class more"}
    source = folder(make_tree(content | {"val/x/1.png": b"same"}))
    digests = checks.scan(source, source.table(), 0).digests
    rest = source.table().select(np.arange(1, len(source.table())))
    (line,) = leaks.describe(source, rest, 0, digests)
    assert line.endswith("val/x/1.png (val) = train/x/1.png (train)")
