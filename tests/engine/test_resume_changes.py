"""Resuming what was stopped inside an epoch, and going on with accepted changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import clsfit
from clsfit.engine import checkpoint, fit
from clsfit.errors import CheckpointError
from clsfit.storage import checkpoints, modelfile

OPTIONS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [8]},
    "metric": ["none", "accuracy"],
    "callback": ["none", {"name": "checkpoint", "every_steps": 1}],
    "epochs": 2,
    "batch_size": 10,
    "threads": 1,
    "verbosity": 0,
}

STOP = """
import gc
from clsfit.pipeline.loader import Batch

class Stop:
    def __init__(self, steps: int):
        self.steps = steps

    @hookimpl
    def on_step_end(self, run):
        if run.step == self.steps:
            run.stop("enough")

class Count:
    def __init__(self, at_most: int):
        self.at_most = at_most

    @hookimpl
    def on_fit_start(self):
        gc.collect()  # other tests' batches

    @hookimpl
    def on_gradients(self, run):
        alive = sum(type(thing) is Batch for thing in gc.get_objects())
        assert alive <= self.at_most, f"{alive} batches are held"
"""


def train(pictures: Path, output: Path | None, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(pictures, output=output, **(OPTIONS | changed))


def saved_state(directory: Path) -> Any:
    saved, _ = checkpoints.newest_verified(directory / "checkpoints")
    assert saved is not None
    return json.loads(saved.read("state.json"))


@pytest.mark.parametrize("stop", [7, 10])
def test_a_run_that_stopped_inside_an_epoch(
    own: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Saved at the very step that stopped it, before the epoch was judged: the resumed run judges it."""
    plain, copy = checkpoint.save, tmp_path / "copy"

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        if run.step == stop and not copy.exists():
            shutil.copytree(run.directory.path, copy)

    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    start = own(STOP, {"callback": "Stop"})
    options = {"callback": [{"name": "checkpoint", "every_steps": 1}, {"name": "mine", "steps": stop}], "epochs": 3}
    whole = start(pictures, tmp_path / "whole", **options)
    resumed = start(pictures, copy, resume=True, **options)
    assert whole.summary["stop_reason"] == resumed.summary["stop_reason"] == "enough"
    clock = {"seconds", "train_images_per_second"}
    rows = [[{k: v for k, v in row.items() if k not in clock} for row in run.metrics] for run in (whole, resumed)]
    assert rows[0] == rows[1]
    assert rows[0][-1]["step"] == stop
    assert (whole.directory / "last.safetensors").read_bytes() == (copy / "last.safetensors").read_bytes()


def test_the_last_checkpoint_is_of_the_finished_run(pictures: Path, tmp_path: Path) -> None:
    run = train(pictures, tmp_path / "run")
    state = saved_state(run.directory)
    assert state["epoch"] == 2
    assert state["stop_reason"] == "all epochs done"
    assert dict(state["logs"]["items"])["metrics"] == (run.directory / "metrics.jsonl").stat().st_size


@pytest.mark.parametrize("batch_size", [50, 25, 4])
@pytest.mark.parametrize("step", [7, 10, None])
def test_other_steps_per_epoch(pictures: Path, tmp_path: Path, batch_size: int, step: int | None) -> None:
    """Each epoch after the change has all its pictures; the one inside which it comes begins anew."""
    if step is None:
        kept, judged, begun = train(pictures, tmp_path / "run").directory, 2, 10
    else:  # epochs have five steps: in the second one, or at its end and not yet judged
        kept, judged, begun = interrupted_at(pictures, tmp_path / "run", step), 1, step
    more = train(pictures, kept, resume=True, accept_changes=True, batch_size=batch_size, epochs=4)
    steps = -(-50 // batch_size)
    assert [row["epoch"] for row in more.metrics] == [1, 2, 3, 4]
    ends = [row["step"] for row in more.metrics[judged:]]
    assert ends == [begun + steps * (i + 1) for i in range(4 - judged)]
    assert all(row["train/loss"] is not None for row in more.metrics)


def interrupted_at(pictures: Path, output: Path, step: int) -> Path:
    """A run directory as it is after the save at ``step``, in the middle of an epoch."""
    plain = checkpoint.save
    copy = output.with_name(output.name + f"-{step}")

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        if run.step == step and not copy.exists():
            shutil.copytree(run.directory.path, copy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_copy)
        train(pictures, output)
    return copy


@pytest.mark.parametrize("step", [3, 7])
def test_another_metric(pictures: Path, tmp_path: Path, step: int) -> None:
    directory = interrupted_at(pictures, tmp_path / "run", step)
    more = train(pictures, directory, resume=True, accept_changes=True, metric=["none", "accuracy", "f1"])
    assert more.metrics[-1]["train/f1"] is not None


def test_another_monitor_starts_its_own_best(pictures: Path, tmp_path: Path) -> None:
    run = train(pictures, tmp_path / "run")
    callback = ["none", {"name": "checkpoint", "monitor": "val/loss", "every_steps": 1}]
    more = train(pictures, run.directory, resume=True, accept_changes=True, callback=callback, epochs=4)
    lowest = min(more.metrics[2:], key=lambda row: row["val/loss"])
    assert more.summary["best"] == {"epoch": lowest["epoch"], "monitor": "val/loss", "value": lowest["val/loss"]}


def test_accepted_data_is_recorded(pictures: Path, tmp_path: Path) -> None:
    data = shutil.copytree(pictures, tmp_path / "data")
    run = train(data, tmp_path / "run")
    shutil.copy(data / "bars" / "000.png", data / "bars" / "new.png")
    train(data, run.directory, resume=True, accept_changes=True, epochs=3)
    (run.directory / "summary.json").unlink()
    train(data, run.directory, resume=True, epochs=3)
    assert "bars/new.png" in (run.directory / "split.csv").read_text()
    assert clsfit.load(run.directory).evaluate().rows


def test_a_finished_run_does_not_pass_for_one_on_other_data(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(pictures, tmp_path / "run")
    moved, other = (shutil.copytree(pictures, tmp_path / name) for name in ("moved", "other"))
    before = (run.directory / "last.safetensors").read_bytes()
    train(moved, run.directory, resume=True, verbosity=1)
    assert "complete, nothing to do" in capsys.readouterr().err
    (other / "bars" / "000.png").unlink()
    with pytest.raises(CheckpointError, match="data set is not the one"):
        train(other, run.directory, resume=True)
    assert (run.directory / "last.safetensors").read_bytes() == before


def test_data_with_validation_pictures(drawn: Any, tmp_path: Path) -> None:
    """config.yaml holds every setting; its val_fraction is nobody's wish."""
    for split in ("train", "val"):
        drawn(tmp_path / "data" / split, {"a": 12, "b": 12})
    run = train(tmp_path / "data", tmp_path / "run")
    (run.directory / "summary.json").unlink()
    train(tmp_path / "data", run.directory, resume=True)
    again = train(tmp_path / "data", tmp_path / "again", config=[run.directory / "config.yaml"])
    assert again.metrics[-1]["val/loss"] == run.metrics[-1]["val/loss"]
    with pytest.raises(clsfit.errors.ConfigError, match="no effect"):
        train(tmp_path / "data", tmp_path / "other", val_fraction=0.3)


def test_checkpoints_without_a_run_are_not_built_upon(pictures: Path, tmp_path: Path) -> None:
    run = train(pictures, tmp_path / "run")
    (run.directory / "config.yaml").unlink()
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match=r"no config\.yaml"):
            train(pictures, run.directory, **how)


def test_none_is_a_wish_too(pictures: Path, tmp_path: Path) -> None:
    directory = interrupted_at(pictures, tmp_path / "run", 7)
    callback = ["none", {"name": "checkpoint", "every_steps": None}]
    train(pictures, directory, resume=True, callback=callback)
    names = sorted(path.name for path in (directory / "checkpoints").glob("step-*"))
    assert names[-1] == "step-00000010"
    assert "step-00000009" not in names


def test_resume_without_a_name_goes_on_with_the_last_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = train(pictures, None, resume=True)  # nothing to resume yet
    second = train(pictures, None)
    assert first.directory != second.directory
    (second.directory / "summary.json").unlink()
    assert train(pictures, None, resume=True).directory == second.directory
    assert (second.directory / "summary.json").exists()


def test_saving_does_not_count_against_the_speed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, plain = [0.0], checkpoint.save

    def slow(run: Any) -> None:
        plain(run)
        run.saver.flush()
        clock[0] += 1000

    monkeypatch.setattr(checkpoint, "save", slow)
    monkeypatch.setattr(fit, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    run = train(pictures, tmp_path / "run")
    assert all(row["train_images_per_second"] > 1e6 for row in run.metrics)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_accumulated_step_holds_one_batch(own: Any, pictures: Path, tmp_path: Path, optimizer: str) -> None:
    start = own(STOP, {"callback": "Count"})
    callbacks = [{"name": "mine", "at_most": 2}, {"name": "accumulate", "steps": 10}]
    run = start(pictures, tmp_path / "run", batch_size=5, optimizer=optimizer, callback=callbacks)
    assert run.summary["stop_reason"] == "all epochs done"  # the callback raises where more are held


SCALED = """
import torch.nn.functional as F

class Scaled(torch.nn.Module):
    def __init__(self, judged: float = 1.0):
        super().__init__()
        self.judged = judged

    def forward(self, logits, targets):
        values = F.cross_entropy(logits, targets, reduction="none")
        return values if self.training else values * self.judged
"""
BY_LOSS = {"name": "checkpoint", "monitor": "val/loss", "every_epochs": 1}


def test_the_best_is_what_the_best_model_file_holds(own: Any, pictures: Path, tmp_path: Path) -> None:
    """A kill between the model file and the checkpoint of its epoch, which accepted changes then train otherwise."""
    train_own, run = own(SCALED, {"loss": "Scaled"}), tmp_path / "run"
    options = {"callback": ["none", BY_LOSS], "optimizer": {"name": "sgd", "lr": 0.1}}
    before = train_own(pictures, run, loss="mine", **options).summary["best"]
    assert before["epoch"] == 2
    newest, _ = checkpoints.newest_verified(run / "checkpoints")
    shutil.rmtree(newest.path)
    worse = {"name": "mine", "judged": 100.0}
    result = train_own(pictures, run, resume=True, accept=True, loss=worse, **options)
    assert result.metrics[-1]["val/loss"] > 10 * before["value"]
    header = modelfile.read(run / "best.safetensors").header
    assert result.summary["best"] == before
    assert (header["epoch"], header["scores"]["val/loss"]) == (before["epoch"], before["value"])


ENDLESS = """
class Endless:
    higher_is_better = False
    def update(self, logits, targets):
        pass
    def merge(self, other):
        pass
    def compute(self):
        return float("inf")
"""


def test_a_run_whose_best_value_is_infinite_can_be_resumed(own: Any, pictures: Path, tmp_path: Path) -> None:
    train_own, options = own(ENDLESS, {"metric": "Endless"}), {"metric": ["none", "mine"]}
    train_own(pictures, tmp_path / "run", **options)
    assert saved_state(tmp_path / "run")["best"] is not None
    (tmp_path / "run" / "summary.json").unlink()
    assert train_own(pictures, tmp_path / "run", resume=True, **options).summary["epochs"] == 2


def test_the_checkpoint_of_the_best_epoch_is_never_pruned(own: Any, pictures: Path, tmp_path: Path) -> None:
    run, loss = tmp_path / "run", {"name": "mine", "judged": -1.0}
    options = {"callback": ["none", BY_LOSS], "epochs": 5, "loss": loss}
    summary = own(SCALED, {"loss": "Scaled"})(pictures, run, **options).summary  # the longer, the worse
    assert summary["best"]["epoch"] == 1
    epochs = {json.loads((path / "state.json").read_text())["epoch"] for path in (run / "checkpoints").glob("step-*")}
    assert len(epochs) == 3
    assert max(epochs) == 5
