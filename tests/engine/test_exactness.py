"""Scores equal scikit-learn's on the saved predictions, for any batch size; predict agrees with evaluate."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

import clsfit

METRICS = ["accuracy", "precision", "recall", "f1"]


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> clsfit.TrainedRun:
    return clsfit.train(
        pictures,
        output=tmp_path_factory.mktemp("exact") / "run",
        model={"name": "small_cnn", "width": 4},
        loss="cross_entropy",
        metric=METRICS,
        epochs=2,
        batch_size=10,
        val_fraction=0.4,
        verbosity=0,
    )


def expected(labels: list[str], predicted: list[str], classes: tuple[str, ...]) -> dict[str, float]:
    options: dict[str, Any] = {"labels": list(classes), "average": "macro", "zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted, **options),
        "recall": metrics.recall_score(labels, predicted, **options),
        "f1": metrics.f1_score(labels, predicted, **options),
    }


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 100])
def test_evaluate_equals_scikit_learn(trained: clsfit.TrainedRun, batch_size: int | None) -> None:
    evaluation = clsfit.load(trained.directory).evaluate(batch_size=batch_size)
    rows = list(evaluation.rows)
    labels, predicted = [row.label for row in rows], [row.predicted for row in rows]
    for name, value in expected(labels, predicted, evaluation.class_names).items():
        assert evaluation.scores[name] == pytest.approx(value, abs=1e-12)
    chances = np.array([row.probabilities for row in rows])
    loss = metrics.log_loss(labels, chances, labels=list(evaluation.class_names))
    assert evaluation.scores["loss"] == pytest.approx(loss, abs=1e-6)


def test_training_reports_what_evaluate_finds(trained: clsfit.TrainedRun) -> None:
    last = clsfit.load(trained.directory / "last.safetensors").evaluate()
    row = trained.metrics[-1]
    for name in ["loss", *METRICS]:
        assert row[f"val/{name}"] == last.scores[name]
    best = clsfit.load(trained.directory).evaluate()
    assert (
        best.scores["accuracy"] == trained.summary["best"]["value"] == max(r["val/accuracy"] for r in trained.metrics)
    )


def test_predict_agrees_with_evaluate(trained: clsfit.TrainedRun, pictures: Path, clsfit: Any, tmp_path: Path) -> None:
    run = trained.directory
    done = clsfit("evaluate", run, "--json", "--predictions", "judged.csv")
    scores = json.loads(done.stdout)
    with (tmp_path / "judged.csv").open(newline="") as file:
        judged = list(csv.DictReader(file))
    found = expected([r["label"] for r in judged], [r["predicted"] for r in judged], ("bars", "dots", "rings"))
    for name, value in found.items():
        assert scores[name] == pytest.approx(value, abs=1e-12)
    clsfit("predict", run, *[pictures / row["path"] for row in judged], "--probabilities", "-o", "applied.csv")
    with (tmp_path / "applied.csv").open(newline="") as file:
        applied = list(csv.DictReader(file))
    assert len(applied) == len(judged) > 20
    for one, other in zip(judged, applied, strict=True):
        assert other["path"] == str(pictures / one["path"])
        assert other["error"] == ""
        for column in ("predicted", "probability", "p(bars)", "p(dots)", "p(rings)"):
            assert one[column] == other[column], column


def test_a_run_finds_its_data_from_any_directory(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    options: dict[str, Any] = {"model": {"name": "mlp", "hidden": [4]}, "epochs": 1, "batch_size": 16, "verbosity": 0}
    run = clsfit.train(pictures.name, output=tmp_path / "run", **options)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert clsfit.load(run.directory).evaluate().scores["accuracy"] == run.metrics[-1]["val/accuracy"]
    again = clsfit.train(output=run.directory, resume=True, verbosity=0)
    assert again.summary == run.summary
