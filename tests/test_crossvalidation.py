"""``--folds``: a run for each part of the pictures, what they say together, and all their models as one."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import clsfit
from clsfit.errors import CheckpointError, ConfigError, DataError

OPTIONS: dict[str, Any] = {"model": {"name": "mlp", "hidden": [8]}, "epochs": 2, "verbosity": 0, "threads": 1}
FOLDS = 3


@pytest.fixture(scope="module")
def folds(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clsfit.train(pictures, folds=FOLDS, output=tmp_path_factory.mktemp("cv") / "cv", **OPTIONS).directory


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_picture_is_judged_by_the_model_that_was_not_trained_on_it(folds: Path, pictures: Path) -> None:
    rows = rows_of(folds / "out-of-fold.csv")
    everything = {f"{path.parent.name}/{path.name}" for path in pictures.rglob("*.png")}
    assert [row["path"] for row in rows] == sorted(everything)
    for fold in range(1, FOLDS + 1):
        split = {row["path"]: row["split"] for row in rows_of(folds / f"fold-{fold}" / "split.csv")}
        own = [row for row in rows if row["fold"] == str(fold)]
        assert {row["path"] for row in own} == {path for path, name in split.items() if name == "val"}
        model = clsfit.load(folds / f"fold-{fold}")
        told = {prediction.path: prediction for prediction in model.predict([pictures / row["path"] for row in own])}
        for row in own:
            prediction = told[str(pictures / row["path"])]
            assert row["label"] == row["path"].partition("/")[0]
            assert row["predicted"] == prediction.predicted
            assert float(row["probability"]) == pytest.approx(prediction.probability, rel=1e-5)
            shown = [float(row[f"p({name})"]) for name in model.class_names]
            assert shown == pytest.approx(prediction.probabilities, rel=1e-4, abs=1e-7)


def test_scores_are_those_of_the_folds_with_mean_and_deviation(folds: Path) -> None:
    summary = json.loads((folds / "folds.json").read_text())
    assert summary["folds"] == FOLDS
    assert set(summary["scores"]) == {"loss", "accuracy", "f1"}
    for score in summary["scores"].values():
        assert score["mean"] == pytest.approx(np.mean(score["folds"]))
        assert score["std"] == pytest.approx(statistics.stdev(score["folds"]))
    accuracies = summary["scores"]["accuracy"]["folds"]
    for fold, accuracy in enumerate(accuracies, 1):  # by which the best epoch is chosen
        assert accuracy == json.loads((folds / f"fold-{fold}" / "summary.json").read_text())["best"]["value"]
        own = [row for row in rows_of(folds / "out-of-fold.csv") if row["fold"] == str(fold)]
        assert accuracy == accuracy_score([row["label"] for row in own], [row["predicted"] for row in own])


def test_all_models_as_one_average_their_probabilities(folds: Path, pictures: Path) -> None:
    paths = sorted(pictures.rglob("*.png"))[::7]
    each = [
        [prediction.probabilities for prediction in clsfit.load(folds / f"fold-{fold}").predict(paths)]
        for fold in range(1, FOLDS + 1)
    ]
    together = [prediction.probabilities for prediction in clsfit.load(folds).predict(paths)]
    np.testing.assert_allclose(together, np.mean(each, axis=0), rtol=1e-5, atol=1e-7)
    assert clsfit.load(folds).evaluate(str(pictures)).scores["accuracy"] is not None


def test_all_models_are_not_judged_on_what_they_were_trained_on(folds: Path) -> None:
    with pytest.raises(ConfigError, match="lies in no run directory"):
        clsfit.load(folds).evaluate()


def test_one_fold_alone_is_an_ordinary_run(folds: Path, pictures: Path, tmp_path: Path) -> None:
    run = clsfit.train(pictures, folds=FOLDS, fold=2, output=tmp_path / "two", **OPTIONS)
    assert (run.directory / "best.safetensors").read_bytes() == (folds / "fold-2" / "best.safetensors").read_bytes()
    assert not (tmp_path / "two" / "folds.json").exists()


def test_a_resume_trains_what_is_missing_and_changes_nothing_else(folds: Path, pictures: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folds, tmp_path / "cv")
    for name in ("fold-2", "fold-3"):
        shutil.rmtree(copy / name)
    clsfit.train(pictures, folds=FOLDS, fold=2, output=copy / "fold-2", **OPTIONS)
    before = (copy / "fold-1" / "metrics.jsonl").read_bytes()
    clsfit.train(pictures, folds=FOLDS, output=copy, resume=True, **OPTIONS)
    assert (copy / "fold-1" / "metrics.jsonl").read_bytes() == before
    assert (copy / "out-of-fold.csv").read_bytes() == (folds / "out-of-fold.csv").read_bytes()
    summaries = [json.loads((path / "folds.json").read_text()) for path in (copy, folds)]
    assert summaries[0]["scores"] == summaries[1]["scores"]
    state = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file() and path.name != ".lock"}
    clsfit.train(pictures, folds=FOLDS, output=copy, resume=True, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in state} == state
    for damage in ("", "{", "[]", '{"folds": 3}'):
        (copy / "folds.json").write_text(damage)
        clsfit.train(pictures, folds=FOLDS, output=copy, resume=True, **OPTIONS)
        assert json.loads((copy / "folds.json").read_text())["scores"] == summaries[0]["scores"]


def test_overwrite_with_bad_data_loses_nothing(folds: Path, tmp_path: Path) -> None:
    state = {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()}
    with pytest.raises(DataError):
        clsfit.train(tmp_path / "absent", folds=FOLDS, output=folds, overwrite=True, **OPTIONS)
    assert {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()} == state


def test_overwrite_leaves_no_fold_of_before(folds: Path, pictures: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folds, tmp_path / "cv")
    clsfit.train(pictures, folds=2, output=copy, overwrite=True, **OPTIONS)
    assert json.loads((copy / "folds.json").read_text())["folds"] == 2
    assert not (copy / "fold-3" / "best.safetensors").exists()
    assert len(rows_of(copy / "out-of-fold.csv")) == 63


def test_what_is_there_is_not_touched(folds: Path, pictures: Path, tmp_path: Path) -> None:
    state = {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="there are folds already"):
        clsfit.train(pictures, folds=FOLDS, output=folds, **OPTIONS)
    with pytest.raises(ConfigError, match="there is a run already"):
        clsfit.train(pictures, folds=FOLDS, output=folds / "fold-1", resume=True, **OPTIONS)
    with pytest.raises(CheckpointError, match="folds: 3 -> 4"):
        clsfit.train(pictures, folds=4, output=folds, resume=True, **OPTIONS)
    assert {path: path.read_bytes() for path in folds.rglob("*") if path.is_file()} == state


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 1}, "greater than or equal to 2"),
        ({"fold": 1}, "there is no fold 1"),
        ({"folds": 3, "fold": 4}, "there is no fold 4"),
        ({"folds": 3, "val_fraction": 0.3}, "--val-fraction has no effect: --folds holds out a part"),
        ({"folds": 64}, "there are 63 pictures to divide into 64 folds"),
    ],
)
def test_refused(pictures: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(clsfit.errors.ClsfitError, match=said):
        clsfit.train(pictures, output=tmp_path / "cv", **OPTIONS, **options)
    assert not (tmp_path / "cv" / "folds.json").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"folds": "x"}', '{"folds": 4}'])
def test_a_damaged_summary_is_exit_4(folds: Path, tmp_path: Path, damage: str) -> None:
    copy = shutil.copytree(folds, tmp_path / "cv")
    (copy / "folds.json").write_text(damage)
    with pytest.raises(CheckpointError):
        clsfit.load(copy)


def test_models_of_different_classes_are_refused(folds: Path, pictures: Path, tmp_path: Path) -> None:
    copy, two = shutil.copytree(folds, tmp_path / "cv"), shutil.copytree(pictures, tmp_path / "two")
    shutil.rmtree(two / "rings")
    other = clsfit.train(two, output=tmp_path / "other", **OPTIONS)
    shutil.copy(other.directory / "best.safetensors", copy / "fold-2" / "best.safetensors")
    with pytest.raises(CheckpointError, match="different classes or preprocessing"):
        clsfit.load(copy)


def test_from_the_command_line(clsfit: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    small = ("--model", "mlp", "--model.hidden", "8", "--epochs", "1")
    done = clsfit("train", pictures, "--folds", 2, *small, "-o", "cv")
    assert done.stdout == "cv\n"
    assert "fold 2 of 2" in done.stderr
    assert "2 folds: accuracy 0." in done.stderr
    assert len(clsfit("predict", "cv", pictures).stdout.splitlines()) == 64
    refused = clsfit("evaluate", "cv", code=2)
    assert "name the folder" in refused.stderr
    dry = clsfit("train", pictures, "--folds", 2, *small, "-o", "dry", "--dry-run")
    assert "nothing was written" in dry.stderr
    assert not (tmp_path / "dry").exists()
    ranks = clsfit("train", pictures, "--folds", 2, *small, "-o", "r", code=2, RANK="0", WORLD_SIZE="2",
                   LOCAL_RANK="0", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")  # fmt: skip
    assert "add --fold 1" in ranks.stderr
