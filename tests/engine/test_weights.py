"""Weights of pictures: they multiply losses in training, validation and evaluation alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clsfit
from clsfit import keyed
from clsfit.engine.infer import evaluate
from clsfit.engine.precision import Precision
from clsfit.engine.sums import Sums
from clsfit.errors import ConfigError, DataError
from clsfit.pipeline.loader import Batch

CODE = """
from clsfit.data.table import SampleTable

class Weighted:
    def __init__(self, weighted: bool = True, label: int = 1):
        self.weighted, self.label = weighted, label

    def table(self):
        targets = np.arange(40) % 2
        targets[5] = self.label
        weights = np.arange(40) / 10 if self.weighted else None
        splits = ["val" if i % 4 == 3 else "train" for i in range(40)]
        return SampleTable(tuple(f"{i}" for i in range(40)), ("a", "b"), targets, splits, weights=weights)

    def read(self, row):
        return np.full((4, 4), 5 * row, dtype=np.uint8)

class Mean(torch.nn.Module):
    def forward(self, logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets)

class Each(torch.nn.Module):
    def forward(self, logits, targets):
        return torch.ones_like(logits[:, 0]) + 0 * logits.sum(1)
"""
OFFERED = {"dataset": "Weighted", "loss": "Mean"}


def test_a_mean_cannot_be_weighted(own: Any, tmp_path: Path) -> None:
    train = own(CODE, OFFERED)
    with pytest.raises(ConfigError, match="'mine' returns a mean"):
        train("mine", tmp_path / "run", loss="mine")
    train({"name": "mine", "weighted": False}, tmp_path / "other", loss="mine")


def test_weights_multiply_and_the_sum_is_divided_by_samples(own: Any, tmp_path: Path) -> None:
    train = own(CODE, OFFERED | {"loss": "Each"})
    run = train("mine", tmp_path / "run", loss="mine", batch_size=7, epochs=1)
    weights, held = np.arange(40) / 10, np.arange(40) % 4 == 3
    assert run.metrics[0]["val/loss"] == pytest.approx(weights[held].mean(), rel=1e-6)
    assert run.metrics[0]["train/loss"] == pytest.approx(weights[~held].mean(), rel=1e-6)


def test_an_unlabelled_picture_is_refused(own: Any, tmp_path: Path) -> None:
    train = own(CODE, OFFERED)
    with pytest.raises(DataError, match="1 pictures to train or validate on have no label"):
        train({"name": "mine", "label": -1}, tmp_path / "run")


class AddsInPlace:
    """A metric whose state is made by its first update."""

    higher_is_better = True

    def __init__(self) -> None:
        self.right: torch.Tensor | None = None

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        if self.right is None:
            self.right = torch.zeros((), dtype=torch.int64)
        self.right += (logits.argmax(1) == targets).sum()

    def compute(self) -> float:
        assert self.right is not None
        return float(self.right)


@pytest.mark.parametrize("batches", [1, 16, 17, 40])
def test_metrics_may_add_in_place(batches: int) -> None:
    """State made while a full chunk is counted, inside the pass, is added to after it."""
    logits = torch.from_numpy(keyed.uniform(1, np.arange(2 * batches), 3)).float()
    rows = np.arange(2)
    given = [Batch(logits[2 * i : 2 * i + 2], torch.tensor([0, 1]), None, rows, {}) for i in range(batches)]
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    cpu = torch.device("cpu")
    sums = evaluate(torch.nn.Identity(), loss, given, Precision("fp32", cpu), Sums({"right": AddsInPlace()}))
    expected = (logits.argmax(1) == torch.tensor([0, 1] * batches)).sum().item()
    assert sums.scores()["right"] == expected


INSTALLED = """
from clsfit import Component, hookimpl

@hookimpl
def clsfit_datasets():
    yield Component("weighted", "installed_weights:Weighted", "of a test")

import numpy as np
from clsfit.data.table import SampleTable

class Weighted:
    def table(self):
        targets = np.arange(40) // 2 % 2
        splits = ["val" if i % 2 else "train" for i in range(40)]
        return SampleTable(tuple(map(str, range(40))), ("a", "b"), targets, splits, weights=np.arange(40) / 10)

    def read(self, row):
        return np.full((4, 4), 5 * row, dtype=np.uint8)
"""


def test_evaluation_weighs_as_validation_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "installed_weights-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-weights\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clsfit]\nweights = installed_weights\n")
    (info.parent / "installed_weights.py").write_text(INSTALLED)
    monkeypatch.syspath_prepend(info.parent)
    options: dict[str, Any] = {"model": {"name": "mlp", "hidden": [8]}, "epochs": 2, "batch_size": 8, "verbosity": 0}
    run = clsfit.train("weighted", output=tmp_path / "run", **options)
    evaluation = clsfit.load(run.directory / "last.safetensors").evaluate()
    assert evaluation.scores["loss"] == run.metrics[-1]["val/loss"]
    losses = [
        -np.log(dict(zip(evaluation.class_names, r.probabilities, strict=True))[r.label]) for r in evaluation.rows
    ]
    weights = [int(r.path) / 10 for r in evaluation.rows]
    assert evaluation.scores["loss"] == pytest.approx(np.dot(losses, weights) / 20, abs=1e-6)
    assert evaluation.scores["loss"] != pytest.approx(np.mean(losses), abs=1e-3)
