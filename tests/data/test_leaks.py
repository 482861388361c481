"""Which pictures are in two splits: the same bytes, all of them, and in no other case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clsfit.data import leaks
from clsfit.data.sources import folder

HEAD = bytes(range(256)) * 40  # longer than what is read first
CONTENT = {
    "train/cat/a.png": HEAD + b"a",
    "train/cat/twin.png": HEAD + b"a",  # of the same split
    "train/dog/b.png": b"other",
    "val/cat/c.png": HEAD + b"c",  # as long, begins alike
    "val/dog/d.png": b"longer than the others",
}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_differs_late_or_lies_in_one_split_is_none(make_tree: Callable[..., Path], workers: int) -> None:
    source = folder(make_tree(CONTENT))
    assert leaks.describe(source, source.table(), workers) == ()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_bytes_are_named_with_their_splits(make_tree: Callable[..., Path], workers: int) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a"}))
    (line,) = leaks.describe(source, source.table(), workers)
    assert "1 picture is in two splits, byte for byte" in line
    assert line.endswith("val/cat/c.png (val) = train/cat/a.png (train)")


def test_a_picture_that_vanishes_meanwhile_is_left_out(make_tree: Callable[..., Path]) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a", "val/dog/d.png": b"other"}))
    (Path(source.root) / "train/dog/b.png").unlink()
    (line,) = leaks.describe(source, source.table(), 0)
    assert "1 picture is" in line
    assert "b.png" not in line
