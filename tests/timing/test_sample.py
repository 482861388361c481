"""The pictures that are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.config import Settings
from clsfit.data.intake import open_path, take_in
from clsfit.data.table import SampleTable
from clsfit.opening import wishes_of
from clsfit.timing.sample import Sample, sample


class Many:
    """A thousand pictures of each of eight classes, in order; reading them takes no time."""

    def table(self) -> SampleTable:
        names = tuple(f"class {k}" for k in range(8))
        return SampleTable(tuple(f"{i}.png" for i in range(8000)), names, np.repeat(np.arange(8), 1000))

    def read(self, row: int) -> Any:
        return np.full((4, 4), row % 251, dtype=np.uint8)


def test_few_pictures_are_all_taken_and_read_as_they_are(pictures: Path) -> None:
    source = open_path(str(pictures))
    some = sample(source, Settings(), 0.01)
    assert some.table().paths == source.table().paths
    assert all(some.read(row) == source.read(row) for row in (0, 20, 62))
    assert some.head(5, 10) == source.head(5, 10)
    assert some.sizes_bytes.tolist() == source.sizes_bytes.tolist()


def test_of_many_enough_are_taken_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsfit.timing.sample._decoded_per_second", lambda source, number: 100.0)
    some = sample(Many(), Settings(batch_size=10, workers=2, val_fraction=0.5), 1.0)
    assert len(some.table()) == 600  # 30 batches of 10 and as many to validate on: more than 200 in a second
    assert set(some.table().counts("")) == {75}
    more = sample(Many(), Settings(batch_size=10, workers=2), 20.0)
    assert len(more.table()) == 4000
    assert not hasattr(some, "head")


def test_pictures_keep_their_rows() -> None:
    source = Many()
    some = Sample(source, np.array([3, 500, 7999]))
    assert some.table().paths == ("3.png", "500.png", "7999.png")
    assert [some.read(row)[0, 0] for row in range(3)] == [3, 500 % 251, 7999 % 251]
    left = some.without({"500.png"})
    assert [left.read(row)[0, 0] for row in range(2)] == [3, 7999 % 251]


def test_absent_pictures_keep_their_rows_too(pictures: Path) -> None:
    source = open_path(str(pictures))
    source.absent = {4: "no such file", 9: "no such file"}
    assert Sample(source, np.array([1, 9, 10])).absent == {1: "no such file"}


def test_nothing_of_it_stays_in_the_cache(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path / "cache"))
    some = sample(open_path(str(pictures)), Settings(), 0.01)
    for cache in ("off", "disk"):
        take_in(some, wishes_of(Settings(cache=cache)))
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
