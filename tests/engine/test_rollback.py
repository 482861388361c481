"""--callback rollback: back to the last good checkpoint, with a lower learning rate, recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from clsfit_standard.optimizers.sgd import SGD

from clsfit.engine import checkpoint
from clsfit.engine.run import Run
from clsfit.errors import DivergedError
from clsfit.storage import modelfile
from clsfit.training import TrainedRun

BLOWS = """
import os
import torch.nn.functional as F

class Blows(torch.nn.Module):
    def __init__(self, at: int = 9, again: bool = False):
        super().__init__()
        self.at, self.again, self.seen = at, again, 0

    def forward(self, logits, targets):
        self.seen += self.training
        values = F.cross_entropy(logits, targets, reduction="none")
        due = self.seen == self.at or (self.again and self.seen > self.at)
        return values * float("nan") if self.training and due and "OWN_CALM" not in os.environ else values
"""

OPTIONS: dict[str, Any] = {
    "callback": [{"name": "checkpoint", "every_steps": 2}, {"name": "rollback", "factor": 0.25}, "ema"],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "epochs": 3,
}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every update of weights."""
    rates: list[float] = []
    plain = SGD.foreach

    def foreach(optimizer: Any, group: dict[str, Any], *tensors: Any) -> None:
        rates.append(group["lr"])
        plain(optimizer, group, *tensors)

    monkeypatch.setattr(SGD, "foreach", foreach)
    return rates


@pytest.fixture
def train(own: Callable[..., Any]) -> Callable[..., TrainedRun]:
    return own(BLOWS, {"loss": "Blows"})


@pytest.mark.parametrize("scheduler", ["cosine", "onecycle", "constant"])
def test_it_goes_back_and_goes_on_slower(
    train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path, scheduler: str, used: list[float]
) -> None:
    plain = train(pictures, tmp_path / "plain", scheduler=scheduler, loss="cross_entropy", **OPTIONS)
    assert plain.metrics[0]["step"] == 7
    planned = used.copy()
    used.clear()
    run = train(pictures, tmp_path / "run", scheduler=scheduler, loss="mine", **OPTIONS)
    assert run.summary["rollbacks"] == [{"step": 9, "to_step": 8, "lr_factor": 0.25}]
    assert "rollbacks" not in plain.summary
    assert used == planned[:8] + [rate * 0.25 for rate in planned[8:]]
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert run.metrics[0]["lr"] == plain.metrics[0]["lr"]
    for after, before in zip(run.metrics[1:], plain.metrics[1:], strict=True):
        assert after["lr"] == pytest.approx(before["lr"] / 4, rel=1e-12, abs=1e-15)
    log = (run.directory / "log.txt").read_text()
    assert "step 9 diverged: back to step 8, learning rate times 0.25" in log
    assert "not finite at step 9: " in log
    for name, tensor in safetensors.numpy.load_file(run.directory / "last.safetensors").items():
        assert (abs(tensor) < float("inf")).all(), name


def test_it_is_the_run_that_was_begun_slower_from_there(
    train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights after the return are those of a resume from that checkpoint with the factor set by hand."""
    copied, plain = tmp_path / "copied", checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        if run.step == 8 and not copied.exists():
            shutil.copytree(run.directory.path, copied)

    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    run = train(pictures, tmp_path / "run", loss="mine", **OPTIONS)
    monkeypatch.setattr(checkpoint, "save", plain)
    bring = checkpoint.restore

    def slower(run: Any, saved: Any, **kwargs: Any) -> None:
        bring(run, saved, **kwargs)
        run.lr_factor = 0.25

    monkeypatch.setattr(checkpoint, "restore", slower)
    monkeypatch.setenv("OWN_CALM", "1")
    again = train(pictures, copied, loss="mine", resume=True, **OPTIONS)
    assert again.summary.get("rollbacks") is None
    one, other = ((r.directory / "last.raw.safetensors").read_bytes() for r in (run, again))
    assert one == other


def test_a_kill_after_it_changes_nothing(
    train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, plain = [], checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        if run.rollbacks:
            copies.append(Path(shutil.copytree(run.directory.path, tmp_path / f"killed-{len(copies)}")))

    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    run = train(pictures, tmp_path / "run", loss="mine", **OPTIONS)
    monkeypatch.setattr(checkpoint, "save", plain)
    monkeypatch.setenv("OWN_CALM", "1")
    expected = (run.directory / "last.safetensors").read_bytes()
    assert len(copies) > 3
    for copied in copies:
        again = train(pictures, copied, loss="mine", resume=True, **OPTIONS)
        assert again.summary["rollbacks"] == run.summary["rollbacks"]
        assert (copied / "last.safetensors").read_bytes() == expected
        assert [row["epoch"] for row in again.metrics] == [1, 2, 3]


def test_it_gives_up(train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="not finite at step 9") as caught:
        train(pictures, tmp_path / "run", loss={"name": "mine", "again": True}, **OPTIONS)
    assert caught.value.exit_code == 6
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("diverged: back to step 8") == 3
    assert "learning rate times 0.015625" in log
    assert "all 3 returns of this run are used up" in log


def test_what_was_frozen_is_frozen_again(
    train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, bool] = {}
    before = checkpoint.go_back

    def look(run: Any) -> None:
        seen[0] = all(parameter.requires_grad for parameter in run.model.parameters())
        before(run)
        seen[1] = all(parameter.requires_grad for parameter in run.model.parameters())

    monkeypatch.setattr(checkpoint, "go_back", look)
    callbacks = [
        "none",
        {"name": "checkpoint", "every_steps": 6},
        "rollback",
        {"name": "freeze", "unfreeze_epoch": 2},
    ]
    train(pictures, tmp_path / "run", loss="mine", **(OPTIONS | {"callback": callbacks}))
    assert seen == {0: True, 1: False}  # step 9 lies in the second epoch, step 6 in the first


WORSE_LATER = """
import torch.nn.functional as F

class WorseLater(torch.nn.Module):
    def __init__(self, at: int):
        super().__init__()
        self.at, self.seen = at, 0

    def forward(self, logits, targets):
        self.seen += self.training
        values = F.cross_entropy(logits, targets, reduction="none")
        if self.training:
            return values * float("nan") if self.seen == self.at else values
        return values * 100 if self.seen > self.at else values
"""


def test_the_best_model_is_kept_where_its_epoch_is_trained_again_and_is_worse(
    own: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    train = own(WORSE_LATER, {"loss": "WorseLater"})
    only_at_0 = {"name": "checkpoint", "monitor": "val/loss", "every_seconds": None}
    options = OPTIONS | {"callback": ["none", only_at_0, "rollback"]}
    result = train(pictures, tmp_path / "run", loss={"name": "mine", "at": 14}, **options)
    assert result.summary["rollbacks"][0]["to_step"] == 0
    best = result.summary["best"]
    assert best["epoch"] < 3
    assert best["value"] < min(row["val/loss"] for row in result.metrics) / 10
    header = modelfile.read(tmp_path / "run" / "best.safetensors").header
    assert (header["epoch"], header["scores"]["val/loss"]) == (best["epoch"], best["value"])


def test_an_epoch_that_ends_twice_writes_its_model_files_twice(
    train: Callable[..., TrainedRun], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    plain = modelfile.write

    def write(path: Path, blob: bytes, header: Any) -> None:
        written.append((path.name, header["step"]))
        plain(path, blob, header)

    save_models = Run.save_models

    def save_and_wait(run: Run, *names: str) -> None:
        save_models(run, *names)
        run.saver.flush()  # or the next epoch's may take its place

    monkeypatch.setattr(modelfile, "write", write)
    monkeypatch.setattr(Run, "save_models", save_and_wait)
    callbacks = ["none", {"name": "checkpoint", "every_steps": 6}, "rollback"]
    run = train(pictures, tmp_path / "run", loss="mine", **(OPTIONS | {"callback": callbacks}))
    assert run.summary["rollbacks"][0] == {"step": 9, "to_step": 6, "lr_factor": 0.5}
    assert written.count(("last.safetensors", 7)) == 2  # the first epoch ends at step 7, with other weights each time
