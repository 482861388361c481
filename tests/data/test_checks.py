"""Header scans and the refusal of bad pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import checks
from clsfit.data.sources import folder
from clsfit.data.table import SampleTable

Tree = Callable[..., Path]


@pytest.mark.parametrize("workers", [0, 2])
def test_scan_says_sizes_gray_and_bad(
    make_tree: Tree, picture: Callable[..., bytes], encode: Callable[..., bytes], workers: int
) -> None:
    gray = encode(Image.new("L", (9, 4)))
    root = make_tree(
        {"a/1.png": picture(0, 5, 7), "a/2.png": gray, "b/3.png": b"", "b/4.png": b"<html>", "b/5.png": picture(1)[:20]}
    )
    source = folder(root)
    found = checks.scan(source, source.table(), workers)
    assert found.sizes.tolist() == [[5, 7], [4, 9], [0, 0], [0, 0], [0, 0]]
    assert found.gray.tolist() == [False, True, False, False, False]
    assert list(found.bad) == [2, 3, 4]
    assert found.bad[2] == "empty file"
    assert "not an accepted format" in found.bad[3]
    assert checks.common_size(found) is None


def test_a_vanished_file_is_bad(make_tree: Tree) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    source = folder(root)
    (root / "a/1.png").unlink()
    assert checks.scan(source, source.table(), 0).bad == {0: "no such file or directory"}


def test_a_header_beyond_the_first_bytes_is_found(make_tree: Tree, encode: Callable[..., bytes]) -> None:
    note = Image.Exif()
    note[0x010E] = "x" * 60_000
    late = encode(Image.new("RGB", (12, 10)), "JPEG", exif=note, comment=b"y" * 60_000)
    assert late.find(b"\xff\xc0") > checks._HEAD
    source = folder(make_tree({"a/1.jpg": late, "b/1.jpg": late}))
    found = checks.scan(source, source.table(), 0)
    assert found.sizes.tolist() == [[10, 12]] * 2
    assert not found.bad


def test_common_size() -> None:
    def of(sizes: list[tuple[int, int]]) -> tuple[int, int] | None:
        return checks.common_size(checks.Scan(np.array(sizes).reshape(-1, 2), np.zeros(len(sizes), bool), {}))

    assert of([(4, 5), (4, 5)]) == (4, 5)
    assert of([(4, 5), (5, 4)]) is None
    assert of([(4, 5), (0, 0), (4, 5)]) == (4, 5)  # a bad picture has no size
    assert of([(0, 0)]) is None
    assert of([]) is None


def test_scan_of_arrays() -> None:
    class Digits:
        def read(self, row: int) -> Any:
            return [np.zeros((8, 6), np.uint8), np.zeros((8, 6, 1), np.uint8), np.zeros((8, 6, 3), np.uint8)][row]

    table = SampleTable(("0", "1", "2"), ("x",), np.zeros(3, np.int64))
    found = checks.scan(Digits(), table, 0)
    assert checks.common_size(found) == (8, 6)
    assert found.gray.tolist() == [True, True, False]


def test_refusal_names_three_and_counts_the_rest() -> None:
    paths = [f"a/{i}\x1b.png" for i in range(9)]
    text = str(checks.refuse({8: "empty file", 1: "truncated", 3: "x", 5: "y", 7: "z"}, paths))
    assert len(text.splitlines()) == 3
    assert text.splitlines()[0] == "5 pictures cannot be read"
    assert text.splitlines()[1] == "a/1\\x1b.png (truncated), a/3\\x1b.png (x), a/5\\x1b.png (y), and 2 more"
    assert "--skip-bad" in text
    assert "more" not in str(checks.refuse({0: "empty file"}, paths))
