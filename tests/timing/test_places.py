"""Where a sample's pictures can be, and that nothing of them stays there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.config import Settings
from clsfit.data.intake import open_path, take_in
from clsfit.opening import wishes_of
from clsfit.timing import places
from clsfit.timing.sample import sample

SETTINGS = Settings(workers=0)


@pytest.fixture
def filled(pictures: Path) -> Any:
    """``filled(stack, total)``: the places of small pictures."""

    def fill(stack: ExitStack, total: int = 4032) -> Any:
        some = sample(open_path(str(pictures)), SETTINGS, 0.01)
        intake = take_in(some, wishes_of(SETTINGS))
        return places.fill(some, intake, SETTINGS, total, stack, lambda line: None)

    return fill


def test_every_place_has_the_same_pictures_and_none_keeps_them(
    filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path / "deep" / "cache"))
    with ExitStack() as stack:
        found = filled(stack)
        assert [place.canvases.tier for place in found.values()] == ["memory", "disk", "stream"]
        assert all(place.seconds > 0 for place in found.values())
        for row in (0, 30, 62):
            first, *others = (place.canvases.get(row) for place in found.values())
            assert all(np.array_equal(first, other) for other in others)
        assert (tmp_path / "deep" / "cache").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_directory_that_was_there_stays(filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path))
    (tmp_path / "mine").write_text("mine")
    with ExitStack() as stack:
        filled(stack)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_too_large_for_a_place_is_said(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsfit.data.cache.available_memory", lambda: 1 << 30)
    monkeypatch.setattr("clsfit.data.tiers.free_bytes", lambda folder: 1 << 30)
    with ExitStack() as stack:
        found = filled(stack, total=3 << 29)
        assert (found["memory"].canvases, found["disk"].canvases) == (None, None)
        assert "1.5 GiB, more than half of the available memory" in found["memory"].why
        assert "1.5 GiB, more than the cache directory may" in found["disk"].why
        assert found["stream"].canvases is not None
        assert {places.preferred(cache, 3 << 29, found) for cache in ("auto", "memory", "disk")} == {"stream"}


def test_a_cache_directory_that_cannot_be(filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path / "file"))
    with ExitStack() as stack:
        found = filled(stack)
        assert found["disk"].canvases is None
        assert "the cache directory cannot be used" in found["disk"].why
        assert places.preferred("disk", 4032, found) == "memory"


def test_the_place_that_training_would_choose(filled: Any) -> None:
    with ExitStack() as stack:
        found = filled(stack)
        chosen = {cache: places.preferred(cache, 4032, found) for cache in ("auto", "memory", "disk", "off")}
    assert chosen == {"auto": "memory", "memory": "memory", "disk": "disk", "off": "stream"}
