"""Accumulating k micro-batches gives the big batch's gradient, weighted by samples, short windows included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import clsfit

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


# 51 training pictures: 4x10 = 40 leaves a window of 11, in two micro-batches, the last of one sample joined
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
