"""Accumulating k micro-batches gives the big batch's gradient, weighted by samples, short windows included."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from PIL import Image

import clsfit
from clsfit.keyed import key, permutation

OPTIONS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [16]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "scheduler": "cosine",
    "callback": ["none", "checkpoint"],
    "epochs": 3,
    "threads": 1,
    "verbosity": 0,
}


def weights(run: clsfit.TrainedRun) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run.directory / "last.safetensors")


def train(pictures: Path, output: Path, batch_size: int, accumulate: int) -> clsfit.TrainedRun:
    callbacks = [*OPTIONS["callback"], {"name": "accumulate", "steps": accumulate}]
    return clsfit.train(pictures, output=output, **(OPTIONS | {"batch_size": batch_size, "callback": callbacks}))


# 50 training pictures: windows of 40 leave a short one of 10
@pytest.mark.parametrize(("batch_size", "accumulate"), [(10, 4), (8, 5), (5, 8), (20, 2), (4, 10)])
def test_equals_the_big_batch(pictures: Path, tmp_path: Path, batch_size: int, accumulate: int) -> None:
    whole = train(pictures, tmp_path / "whole", 40, 1)
    parts = train(pictures, tmp_path / "parts", batch_size, accumulate)
    for name, expected in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], expected, rtol=0, atol=2e-6, err_msg=name)
    for one, other in zip(whole.metrics, parts.metrics, strict=True):
        assert one["step"] == other["step"]  # schedulers count optimizer steps
        assert one["lr"] == other["lr"]
        assert one["train/loss"] == pytest.approx(other["train/loss"], abs=1e-6)


def test_differs_from_small_batches(pictures: Path, tmp_path: Path) -> None:
    """The comparison above can fail: without accumulation the weights are others."""
    whole = weights(train(pictures, tmp_path / "whole", 40, 1))
    small = weights(train(pictures, tmp_path / "small", 10, 1))
    assert max(float(abs(small[name] - whole[name]).max()) for name in whole) > 1e-2


@pytest.mark.parametrize(("batch_size", "accumulate"), [(40, 1), (10, 4), (7, 3)])
def test_equals_a_loop_by_hand(pictures: Path, tmp_path: Path, batch_size: int, accumulate: int) -> None:
    """Each step's gradient is the mean over the samples of its window, also of a short one."""
    run = clsfit.train(
        pictures,
        output=tmp_path / "run",
        model={"name": "mlp", "hidden": [16]},
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0},
        scheduler="constant",
        callback=["none", {"name": "accumulate", "steps": accumulate}],
        batch_size=batch_size,
        epochs=2,
        threads=1,
        verbosity=0,
    )
    with (run.directory / "split.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    classes = sorted({row["label"] for row in rows})
    pixels = np.stack([np.asarray(Image.open(pictures / row["path"])) for row in rows])
    images = torch.from_numpy((pixels[:, None] / 255 - 0.5) / 0.25).float()
    targets = torch.tensor([classes.index(row["label"]) for row in rows])
    first = safetensors.torch.load_file(run.directory / "checkpoints" / "step-00000000" / "model.safetensors")
    model = clsfit.load(run.directory / "last.safetensors").module
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in first.items()})
    model.train()
    for epoch in range(2):
        order = torch.from_numpy(permutation(key(0, "order", epoch), len(rows)))
        for window in order.split(batch_size * accumulate):
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(images[window]), targets[window]).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(trained[name], expected, rtol=0, atol=2e-6)
