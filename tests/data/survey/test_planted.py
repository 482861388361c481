"""Planted duplicates are found, and views of one object, which are none, are not told. Nor do they cross a split."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import planting

from clsfit.data.groups import assign
from clsfit.data.sources import folder
from clsfit.data.split import hold_out
from clsfit.data.table import SampleTable

OBJECT = re.compile(r"object-\d+")


def objects_of(table: SampleTable, split: str) -> set[str]:
    """The objects with a picture there, by their paths."""
    found = [OBJECT.search(table.paths[row]) for row in table.rows(split).tolist()]
    return {match[0] for match in found if match}


def test_planted_duplicates_are_found_and_views_of_an_object_are_none(tmp_path: Path) -> None:
    data = planting.draw_objects(tmp_path / "objects", 40, 3)
    outcome = planting.judge(sorted(data.rglob("*.png")), tmp_path / "planted", 10)
    assert outcome.found == {"copy": 10, "encoded again": 10, "resized": 10, "mirrored": 10}, outcome.missed
    assert outcome.false == []


@pytest.mark.slow  # a minute on two cores
def test_a_thousand_planted_duplicates(tmp_path: Path) -> None:
    data = planting.draw_objects(tmp_path / "objects", 600, 3)
    outcome = planting.judge(sorted(data.rglob("*.png")), tmp_path / "planted", 250)
    assert outcome.found == dict.fromkeys(planting.KINDS, 250), outcome.missed
    assert outcome.false == []


def test_views_of_an_object_differ(tmp_path: Path) -> None:
    data = planting.draw_objects(tmp_path / "objects", 3, 2)
    for place in sorted(data.glob("*/*")):
        one, other = (planting.pixels(path).astype(int) for path in sorted(place.iterdir()))
        assert np.abs(one - other).mean() > 8


@pytest.mark.parametrize("options", [{"group": "parent"}, {"group_regex": r"object-\d+"}])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_by_groups_shares_no_object_and_a_random_one_does(
    tmp_path: Path, options: dict[str, Any], seed: int
) -> None:
    table = folder(planting.draw_objects(tmp_path / "objects", 60, 2)).table()
    random = hold_out(table, 0.2, seed)
    assert len(objects_of(random, "train") & objects_of(random, "val")) > 10
    grouped, _ = assign(table, options.get("group"), options.get("group_regex"), 0.2)
    grouped = hold_out(grouped, 0.2, seed)
    train, val = objects_of(grouped, "train"), objects_of(grouped, "val")
    assert train & val == set()
    assert len(train | val) == 60
    assert 8 <= len(val) <= 16


@pytest.mark.slow  # a minute on two cores
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_split_scores_objects_that_it_has_seen_and_new_ones_are_a_coins_toss(
    tmp_path: Path, seed: int
) -> None:
    import clsfit

    data = planting.draw_objects(tmp_path / "objects", 200, 2, 0.3)
    new = planting.draw_objects(tmp_path / "new", 200, 2, 0.3, first=1000)
    options: dict[str, Any] = {"model": {"name": "mlp", "hidden": [64]}, "epochs": 15, "input_size": 16, "verbosity": 0}
    scores = {}
    for group in (None, "parent"):
        run = clsfit.train(data, output=tmp_path / str(group), group=group, seed=seed, device="cpu", **options)
        told = clsfit.load(run.directory / "last.safetensors").predict([str(path) for path in new.rglob("*.png")])
        on_new = float(np.mean([one.predicted == Path(one.path).parts[-3] for one in told]))
        scores[group] = run.metrics[-1]["val/accuracy"], on_new
        print(group, scores[group])
    assert scores[None][0] > 0.8
    assert scores["parent"][0] == pytest.approx(0.5, abs=0.2)
    assert all(on_new == pytest.approx(0.5, abs=0.1) for _, on_new in scores.values())
