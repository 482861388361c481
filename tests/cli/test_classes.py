"""Numbers go by class names: a validation folder that lacks classes, and other data than those of the run."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

NAMES = ("apes", "bears", "cats")


@pytest.fixture
def photos(tmp_path: Path, drawn: Any) -> Path:
    """Three classes to train on, and of the first and third, which sort otherwise there, pictures to validate on."""
    top = tmp_path / "photos"
    drawn(top / "train", dict.fromkeys(NAMES, 12), size=8)
    drawn(tmp_path / "more", {"cats": 7, "apes": 4}, size=8)
    (top / "val").mkdir()
    for name in ("cats", "apes"):
        shutil.move(tmp_path / "more" / name, top / "val" / name)
    return top


def test_each_class_keeps_its_number_where_val_has_the_first_and_third(
    clsfit: Callable[..., Any], photos: Path, tmp_path: Path
) -> None:
    options = ["--model", "mlp", "--model.hidden", "8", "--epochs", "2", "--device", "cpu"]
    options += ["--metric", "f1", "--metric", "balanced_accuracy"]
    said = clsfit("train", "photos", *options, "-o", "run").stderr
    line = "note: val has no pictures of: bears\n"
    assert said.count(line) == 1
    assert "val has no pictures of: bears" in clsfit("data", "check", "photos").stdout
    for arguments in (("run",), ("run", "photos", "--split", "val")):
        done = clsfit("evaluate", *arguments, "--json", "--predictions", "val.csv")
        assert line in done.stderr
        scores = json.loads(done.stdout)
        with (tmp_path / "val.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["path"].split("/")[1] for row in rows} == {"apes", "cats"}
        assert all(row["label"] == row["path"].split("/")[1] for row in rows)
        truth, found = ([row[key] for row in rows] for key in ("label", "predicted"))
        expected = dict(zip(NAMES, f1_score(truth, found, labels=NAMES, average=None, zero_division=0), strict=True))
        per_class = scores["per_class"]["f1"]
        assert list(per_class) == list(NAMES)
        assert per_class["apes"] == pytest.approx(expected["apes"])
        assert per_class["cats"] == pytest.approx(expected["cats"])
        assert per_class["bears"] == (0 if "bears" in found else None)
        recalled = scores["per_class"]["balanced_accuracy"]
        assert recalled["bears"] is None
        assert all(0 <= recalled[name] <= 1 for name in ("apes", "cats"))
    records = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    correct = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert max(record["val/accuracy"] for record in records) == pytest.approx(correct)
    said = clsfit("evaluate", "run", "photos/val").stderr
    assert said.startswith("note: DATA has no pictures of: bears\n")
    (photos / "val" / "cats").rename(photos / "val" / "Cats")
    assert "did you mean 'cats' for 'Cats'?" in clsfit("evaluate", "run", "photos/val", code=3).stderr
