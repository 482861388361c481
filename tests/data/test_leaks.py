"""Which pictures are in two splits: the same bytes, all of them, and in no other case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import checks, leaks, split
from clsfit.data.canvases import Canvases, build
from clsfit.data.intake import Wishes, take_in
from clsfit.data.prepare import Prepare
from clsfit.data.sources import folder
from clsfit.errors import DataError

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
    assert leaks.look(source, source.table(), workers).lines == ()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_bytes_are_named_with_their_splits(make_tree: Tree, workers: int) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a"}))
    (line,) = leaks.look(source, source.table(), workers).lines
    assert "1 picture is in two splits, byte for byte" in line
    assert line.endswith("val/cat/c.png (val) = train/cat/a.png (train)")


def test_a_picture_that_vanishes_meanwhile_is_left_out(make_tree: Tree) -> None:
    source = folder(make_tree(CONTENT | {"val/cat/c.png": HEAD + b"a", "val/dog/d.png": b"other"}))
    (Path(source.root) / "train/dog/b.png").unlink()
    (line,) = leaks.look(source, source.table(), 0).lines
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
    (line,) = leaks.look(source, source.table(), 0, digests).lines
    assert "2 pictures are" in line
    assert "val/x/again.png (val) = train/x/small.png (train)" in line
    assert "val/y/large.png (val) = train/x/large.png (train)" in line
    assert any("small" in path or "again" in path for path in opened) is not known


def test_digests_belong_to_the_rows_of_the_source(make_tree: Tree) -> None:
    content = {"train/x/0.png": b"else", "train/x/1.png": b"same", "train/y/0.png": b"a class more"}
    source = folder(make_tree(content | {"val/x/1.png": b"same"}))
    digests = checks.scan(source, source.table(), 0).digests
    rest = source.table().select(np.arange(1, len(source.table())))
    (line,) = leaks.look(source, rest, 0, digests).lines
    assert line.endswith("val/x/1.png (val) = train/x/1.png (train)")


@pytest.fixture
def divided(make_tree: Callable[..., Path], encode: Callable[..., bytes], tmp_path: Path) -> Callable[..., Any]:
    """``divided(cache)``: a source and its canvases; val has a copy, a picture encoded again, and another one."""
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((60, 60), Image.Resampling.BICUBIC)
        for _ in range(4)
    ]
    content = {f"train/{name}.png": encode(pictures[i]) for i, name in enumerate(("cat/0", "cat/1", "dog/2"))}
    content |= {
        "val/cat/copy.png": encode(pictures[0]),
        "val/dog/again.jpg": encode(pictures[1], "JPEG", quality=60),
        "val/dog/other.png": encode(pictures[3]),
    }

    def run(cache: str) -> tuple[Any, Canvases]:
        source = folder(make_tree(content))
        rows = np.arange(len(content))
        made, _ = build(source, rows, Prepare(3), cache=cache, workers=0, skip_bad=False, cache_dir=tmp_path / "cache")
        return source, made

    return run


COPY = "val/cat/copy.png (val) = train/cat/0.png (train)"
AGAIN = "val/dog/again.jpg (val) = train/cat/1.png (train)"


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_copy_is_one_byte_for_byte_and_what_was_encoded_again_is_told_too(
    divided: Callable[..., Any], cache: str
) -> None:
    source, made = divided(cache)
    same, again = leaks.look(source, source.table(), 0, canvases=made).lines
    assert same.startswith("warning: 1 picture is in two splits, byte for byte, ")
    assert same.endswith(f": {COPY}")
    assert again.startswith("warning: 1 picture is in two splits, re-encoded, ")
    assert again.endswith(f": {AGAIN}")


def test_strict_refuses_what_would_be_warned_of(divided: Callable[..., Any]) -> None:
    source, made = divided("memory")
    with pytest.raises(DataError) as caught:
        leaks.look(source, source.table(), 0, canvases=made, strict=True)
    what, pairs, remedy = str(caught.value).splitlines()
    assert what == "2 pictures are in two splits, so scores would be too good"
    assert pairs == f"byte for byte: {COPY}; re-encoded: {AGAIN}"
    assert "--strict" in remedy
    alone = np.array([1, 2, 3, 5])
    assert leaks.look(source, source.table().select(alone), 0, canvases=made.select(alone), strict=True).lines == ()


def test_what_is_not_looked_at_is_said(divided: Callable[..., Any]) -> None:
    source, made = divided("off")
    same, unseen = leaks.look(source, source.table(), 0, canvases=made).lines
    assert COPY in same
    assert unseen.startswith("note: ")
    assert "re-encoded was not looked at" in unseen
    one_split = source.table().with_splits(["train"] * 6)
    assert leaks.look(source, one_split, 0, canvases=made).lines == ()


def test_a_resumed_run_is_strict_where_its_data_may_have_changed(divided: Callable[..., Any]) -> None:
    source, _ = divided("off")
    wishes = Wishes(None, None, 0.2, 0, 0, "memory", skip_bad=False)
    first = take_in(source, wishes)
    assert [note.split(":")[0] for note in first.notes] == ["warning", "warning"]
    recorded = list(split.to_rows(first.table))
    assert take_in(source, wishes, recorded=recorded, strict=True).notes == ()
    with pytest.raises(DataError, match="2 pictures are in two splits"):
        take_in(source, wishes, recorded=recorded, accept_changes=True, strict=True)
