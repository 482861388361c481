"""A loss that is not finite stops the run with exit 6, names its pictures, and never reaches the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

import clsfit
from clsfit.errors import DivergedError, ResourceError
from clsfit.storage import checkpoints
from clsfit.storage.log import AppendLog


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weights_never_see_it(pictures: Path, tmp_path: Path, accumulate: int) -> None:
    with pytest.raises(DivergedError, match=r"not finite at step \d+ \(epoch 1\)") as caught:
        clsfit.train(
            pictures,
            output=tmp_path / "run",
            model={"name": "mlp", "hidden": [8]},
            optimizer={"name": "sgd", "lr": 1e30},
            callback=[{"name": "checkpoint", "every_steps": 1}, {"name": "accumulate", "steps": accumulate}],
            batch_size=8,
            verbosity=0,
        )
    assert caught.value.exit_code == 6
    assert ".png" in caught.value.where
    assert len(str(caught.value).splitlines()) <= 3
    saved, skipped = checkpoints.newest_verified(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert not skipped
    for name, tensor in safetensors.numpy.load(saved.read("model.safetensors")).items():
        assert (abs(tensor) < float("inf")).all(), name
    assert not (tmp_path / "run" / "summary.json").exists()
    assert "not finite" in (tmp_path / "run" / "log.txt").read_text()


BLIND = """
import torch.nn.functional as F

class Blind(torch.nn.Module):
    def forward(self, logits, targets):
        values = F.cross_entropy(logits, targets, reduction="none")
        return values if self.training else values * float("inf")
"""


def test_a_full_log_does_not_hide_it(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AppendLog.append

    def append(log: AppendLog, line: str) -> None:
        if "not finite" in line:
            raise ResourceError("it could not be written: no space left on device")
        plain(log, line)

    monkeypatch.setattr(AppendLog, "append", append)
    options = {"model": "mlp", "optimizer": {"name": "sgd", "lr": 1e30}, "batch_size": 8, "verbosity": 0}
    with pytest.raises(DivergedError, match="not finite at step"):
        clsfit.train(pictures, output=tmp_path / "run", **options)


def test_a_validation_loss_that_is_not_finite_is_told(own: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    run = own(BLIND, {"loss": "Blind"})(pictures, tmp_path / "run", loss="mine", epochs=1)
    assert "warning: the validation loss is not finite" in (run.directory / "log.txt").read_text()
