"""A resumed run is the uninterrupted one: weights, scores and logs, from any step, by any number of workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import clsfit
from clsfit.engine import checkpoint

EPOCHS, STEPS_PER_EPOCH = 4, 4  # 50 training pictures, batches of 8, windows of 2: seven batches, four steps

OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4, "dropout": 0.3},
    "loss": "focal",
    "metric": ["f1"],
    "augment": ["hflip", {"name": "crop", "padding": 2}],
    "callback": [
        {"name": "checkpoint", "every_steps": 1, "monitor": "val/f1"},
        {"name": "accumulate", "steps": 2},
        {"name": "early_stop", "patience": 3},
        {"name": "clip_gradients", "max_norm": 0.5},
    ],
    "epochs": EPOCHS,
    "batch_size": 8,
    "threads": 1,
}


def train(pictures: Path, output: Path, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(pictures, output=output, verbosity=0, resume=True, **(OPTIONS | changed))


def lasting(directory: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what a clock says."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in {"seconds", "train_images_per_second"}} for row in rows]


def outcome(directory: Path) -> tuple[Any, ...]:
    """Everything that an interruption must not change, to the byte."""
    summary = json.loads((directory / "summary.json").read_text())
    return (
        (directory / "last.safetensors").read_bytes(),
        (directory / "best.safetensors").read_bytes(),
        lasting(directory),
        {k: v for k, v in summary.items() if k != "seconds"},
    )


@pytest.fixture(params=["sgd", "adamw"])
def interrupted(request: pytest.FixtureRequest, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An uninterrupted run, and its directory as it was after each save."""
    snapshots: dict[tuple[int, int], Path] = {}  # by finished epochs and steps
    plain = checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        run.directory.metrics.sync()
        snapshots[run.epoch, run.step] = tmp_path / f"after-{run.epoch}-{run.step}"
        shutil.copytree(run.directory.path, snapshots[run.epoch, run.step])

    changed = {
        "optimizer": request.param,
        "loss": {"sgd": "focal", "adamw": {"name": "ldam", "reweight_after": 0.5}}[request.param],
        "scheduler": {"sgd": "plateau", "adamw": {"name": "cosine", "warmup_steps": 3}}[request.param],
    }
    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    run = train(pictures, tmp_path / "whole", **changed)
    monkeypatch.setattr(checkpoint, "save", plain)
    return run, snapshots, changed


def test_resumes_from_every_step(interrupted: Any, pictures: Path) -> None:
    run, snapshots, changed = interrupted
    inside = {(max(0, step - 1) // STEPS_PER_EPOCH, step) for step in range(EPOCHS * STEPS_PER_EPOCH + 1)}
    assert set(snapshots) == inside | {(EPOCHS, EPOCHS * STEPS_PER_EPOCH)}
    expected = outcome(run.directory)
    for (epochs, step), directory in snapshots.items():
        train(pictures, directory, **changed)
        assert outcome(directory) == expected, f"resumed from step {step}, {epochs} epochs judged"


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("cache", ["off", "memory", "disk"])
def test_workers_and_cache_change_nothing(interrupted: Any, pictures: Path, workers: int, cache: str) -> None:
    run, snapshots, changed = interrupted
    train(pictures, snapshots[1, 6], workers=workers, cache=cache, **changed)
    assert outcome(snapshots[1, 6]) == outcome(run.directory)


def test_same_command_twice(pictures: Path, tmp_path: Path) -> None:
    runs = [train(pictures, tmp_path / name) for name in ("one", "two")]
    assert outcome(runs[0].directory) == outcome(runs[1].directory)
    other = train(pictures, tmp_path / "three", seed=1)
    assert outcome(other.directory)[0] != outcome(runs[0].directory)[0]


def test_a_finished_run_is_left_alone(pictures: Path, tmp_path: Path) -> None:
    directory = train(pictures, tmp_path / "run").directory
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}
    train(pictures, directory)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}
    assert {p: v for p, v in after.items() if p.name != "lock"} == {p: v for p, v in before.items() if p.name != "lock"}


def test_changes_are_refused_or_accepted(interrupted: Any, pictures: Path) -> None:
    _, snapshots, changed = interrupted
    with pytest.raises(clsfit.errors.CheckpointError, match=r"epochs: 4 -> 5"):
        train(pictures, snapshots[1, 6], **(changed | {"epochs": 5}))
    with pytest.raises(clsfit.errors.CheckpointError, match="gamma"):
        train(pictures, snapshots[1, 6], **(changed | {"loss": {"name": "focal", "gamma": 1}}))
    run = train(pictures, snapshots[1, 6], **(changed | {"epochs": 5, "accept_changes": True}))
    assert len(run.metrics) <= 5
    assert run.metrics[-1]["step"] > 6


def test_changed_data_is_refused(interrupted: Any, pictures: Path, tmp_path: Path) -> None:
    _, snapshots, changed = interrupted
    copy = shutil.copytree(pictures, tmp_path / "copy")
    train(copy, snapshots[1, 5], **changed)  # the same data at another place
    (copy / "bars" / "000.png").rename(copy / "bars" / "renamed.png")
    with pytest.raises(clsfit.errors.CheckpointError, match="data set"):
        train(copy, snapshots[1, 6], **changed)
