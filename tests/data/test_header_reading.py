"""Headers are read as far as they matter: the data set that a run gets is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import checks, headers
from clsfit.data.decode import Header
from clsfit.data.intake import Wishes, take_in
from clsfit.data.sources import FolderSource, folder
from clsfit.errors import DataError

Tree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cache(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(store))
    monkeypatch.setattr(headers, "_WORTH", 1)


def _wishes(**values: Any) -> Wishes:
    return Wishes(**{"input_size": None, "channels": None, "val_fraction": 0.25, "seed": 0, "workers": 2} | values)


def test_a_second_intake_opens_each_file_once(make_tree: Tree, opened: list[str]) -> None:
    root = make_tree([f"{'ab'[i % 2]}/{i}.png" for i in range(300)])
    wishes = _wishes(cache="memory", skip_bad=False)
    first = take_in(folder(root), wishes)
    assert len(opened) == 2 * 300 + 256  # headers, the estimate's probe, pictures; none for equal ones
    opened.clear()
    second = take_in(folder(root), wishes)
    assert len(opened) == 300 + 256
    assert first.notes == second.notes
    assert first.canvases.uniform is not None
    assert second.canvases.uniform is not None
    assert np.array_equal(first.canvases.uniform, second.canvases.uniform)


def _mixed(make_tree: Tree, encode: Callable[..., bytes], modes: str) -> FolderSource:
    """300 pictures of two sizes, of the modes given, with an unreadable one at the end."""
    content = {
        f"{'ab'[i % 2]}/{i:03}.png": encode(
            Image.new({"l": "L", "c": "RGB"}[modes[i // 2 % len(modes)]], (3 + i % 5, 4))
        )
        for i in range(300)
    }
    return folder(make_tree(content | {"b/zz.png": b"no picture"}))


@pytest.mark.parametrize(
    ("modes", "channels", "early"), [("c", None, True), ("lc", None, True), ("l", None, False), ("l", 3, True)]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_headers_that_change_nothing_are_not_read(
    make_tree: Tree,
    encode: Callable[..., bytes],
    opened: list[str],
    store: Path,
    modes: str,
    channels: int | None,
    early: bool,
    workers: int,
) -> None:
    source = _mixed(make_tree, encode, modes)
    found = headers.look(source, source.table(), workers, channels=channels, cache="auto", skip_bad=True)
    assert found.whole is not early
    assert len(opened) < 100 if early else len(opened) == 301
    assert checks.common_size(found) is None
    assert bool(found.gray[:300].all()) is (modes == "l" and not early)
    assert len(list(store.rglob("*.headers"))) == (0 if early else 1)


def test_headers_of_one_size_are_all_read(equal: FolderSource) -> None:
    assert headers.look(equal, equal.table(), 2, cache="auto", skip_bad=False).whole
    settled = headers._Mixed(None)
    assert not any(settled(Header(4, 4, gray)) for gray in (False, True, False))
    assert settled(Header(4, 5, True))


@pytest.mark.parametrize("modes", ["c", "lc", "l"])
@pytest.mark.parametrize("size", [None, (8, 8)])
def test_an_intake_is_the_same_as_with_all_headers(
    make_tree: Tree,
    encode: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    modes: str,
    size: tuple[int, int] | None,
) -> None:
    source = _mixed(make_tree, encode, modes)
    wishes = _wishes(cache="memory", skip_bad=True, input_size=size)
    short = take_in(source, wishes)
    monkeypatch.setattr(headers._Mixed, "__call__", lambda *_: False)
    full = take_in(source, wishes)
    assert (short.prepare, short.input_size, short.left_out) == (full.prepare, full.input_size, full.left_out)
    assert short.left_out == ("b/zz.png",)
    assert short.prepare.channels == (1 if modes == "l" else 3)
    assert short.table.splits == full.table.splits
    assert all(np.array_equal(short.canvases.get(row), full.canvases.get(row)) for row in range(300))
    with pytest.raises(DataError) as without:
        take_in(source, replace(wishes, skip_bad=False))
    monkeypatch.undo()
    with pytest.raises(DataError) as again:
        take_in(source, replace(wishes, skip_bad=False))
    assert str(again.value) == str(without.value)
