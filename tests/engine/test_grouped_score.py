"""Why pictures of one object belong on one side of the split.

Sixty objects are seen seven times each, and an object's label is a coin's toss: there is nothing to
learn but the objects themselves. A random split scores well all the same, since every object is on both
of its sides; a split by object scores as a coin does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clsfit
from clsfit import keyed

OBJECTS, VIEWS, SIDE = 60, 7, 12


def photographs(folder: Path) -> Path:
    """Seven noisy views of each of 60 objects: ``<label>/object-NN/V.png``."""
    looks = keyed.uniform(1, np.arange(OBJECTS), SIDE * SIDE).reshape(OBJECTS, SIDE, SIDE)
    labels = keyed.permutation(2, OBJECTS) % 2
    for k, look in enumerate(looks):
        place = folder / ("heads", "tails")[labels[k]] / f"object-{k:02}"
        place.mkdir(parents=True)
        noise = keyed.uniform(keyed.key(3, k), np.arange(VIEWS), SIDE * SIDE).reshape(VIEWS, SIDE, SIDE)
        for view in range(VIEWS):
            pixels = 160 * look + 95 * noise[view]
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{view}.png")
    return folder


def shared_groups(split: list[dict[str, str]]) -> set[str]:
    """Objects with pictures on both sides."""
    sides = {
        side: {Path(row["path"]).parent.name for row in split if row["split"] == side} for side in ("train", "val")
    }
    return sides["train"] & sides["val"]


def test_a_random_split_scores_objects_that_it_has_seen(tmp_path: Path) -> None:
    data = photographs(tmp_path / "data")
    options: dict[str, Any] = {"model": {"name": "mlp", "hidden": [64]}, "epochs": 15, "verbosity": 0}
    scores = {}
    for name, group in (("random", None), ("grouped", "parent")):
        run = clsfit.train(data, output=tmp_path / name, group=group, **options)
        split = (run.directory / "split.csv").read_text().splitlines()
        rows = [dict(zip(split[0].split(","), line.split(","), strict=True)) for line in split[1:]]
        assert len(rows) == OBJECTS * VIEWS
        shared = shared_groups(rows)
        assert not shared if group else len(shared) > OBJECTS / 2
        scores[name] = run.metrics[-1]["val/accuracy"]
    assert scores["random"] > 0.9
    assert scores["grouped"] == pytest.approx(0.5, abs=0.2)
