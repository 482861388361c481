"""Checkpoints are written beside the training: of one moment, in order, proved at step 0, their failures told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clsfit
from clsfit.engine import checkpoint
from clsfit.engine.run import Run
from clsfit.errors import PluginError, ResourceError
from clsfit.storage import checkpoints, durable

OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4},
    "optimizer": "adamw",
    "callback": ["none", {"name": "checkpoint", "every_steps": 1}, "ema"],
    "epochs": 2,
    "batch_size": 8,
    "threads": 1,
    "verbosity": 0,
}

CARELESS = """
class Forgetful:
    def __init__(self):
        self.count = 3
    def state_dict(self):
        return {"count": self.count}
    def load_state_dict(self, state):
        self.count = 0

class Broken(Forgetful):
    def load_state_dict(self, state):
        self.count = state["counted"]

class Flat:
    def __init__(self):
        self.table = torch.zeros(2, 3)
    def state_dict(self):
        return {"table": self.table}
    def load_state_dict(self, state):
        self.table = state["table"].flatten()
"""


def train(pictures: Path, output: Path, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(pictures, output=output, **(OPTIONS | changed))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, bytes]]:
    """The files of every checkpoint that is saved, by step, less what a clock says."""
    found: dict[int, dict[str, bytes]] = {}
    plain = checkpoints.save

    def save_and_keep(directory: Path, step: int, files: dict[str, bytes]) -> Path:
        state = json.loads(files["state.json"])
        for name in ("seconds", "train_seconds", "logs", "scores"):
            del state[name]
        found[step] = files | {"state.json": json.dumps(state).encode()}
        return plain(directory, step, files)

    monkeypatch.setattr(checkpoints, "save", save_and_keep)
    return found


def test_what_is_saved_is_the_run_at_that_moment_however_long_it_takes(
    pictures: Path, tmp_path: Path, kept: dict[int, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(pictures, tmp_path / "quick")
    expected = dict(kept)
    kept.clear()
    ran_on, plain = threading.Event(), checkpoint.Snapshot.files

    def late(snapshot: checkpoint.Snapshot) -> dict[str, bytes]:
        if snapshot.step == 3:
            assert ran_on.wait(60)  # until the training has made two more steps
        return plain(snapshot)

    class Runner:
        @clsfit.hookimpl
        def on_step_end(self, run: Any) -> None:
            if run.step == 5:
                ran_on.set()

    monkeypatch.setattr(checkpoint.Snapshot, "files", late)
    build = clsfit.build.build_run

    def with_runner(*args: Any, **kwargs: Any) -> Any:
        run = build(*args, **kwargs)
        run.hooks._manager.register(Runner())
        return run

    monkeypatch.setattr("clsfit.build.build_run", with_runner)
    changed = {"callback": ["none", {"name": "checkpoint", "every_steps": 3}, "ema"]}
    train(pictures, tmp_path / "slow", **changed)
    assert {0, 3, 6, 9, 12} <= set(kept)
    for step, files in kept.items():
        assert files == expected[step], f"step {step}"


def test_a_checkpoint_by_time_waits_for_what_the_model_files_took_too(
    pictures: Path, tmp_path: Path, kept: dict[int, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if writing them had taken an hour: the run ends before the next checkpoint is due."""
    changed = {"callback": ["none", {"name": "checkpoint", "every_seconds": 1e-9}]}
    save_now = Run.save_now

    def save_and_wait(run: Run) -> None:
        save_now(run)
        run.saver.flush()

    monkeypatch.setattr(Run, "save_now", save_and_wait)
    monkeypatch.setattr("clsfit_standard.callbacks.checkpoint._REST", 0)
    train(pictures, tmp_path / "quick", **changed)
    assert set(kept) == set(range(len(kept)))
    last = max(kept)
    kept.clear()
    monkeypatch.setattr("clsfit_standard.callbacks.checkpoint._REST", 1)
    monkeypatch.setattr("clsfit.storage.background.Background.lap", lambda self: 3600.0)
    train(pictures, tmp_path / "rested", **changed)
    assert set(kept) == {0, last}


@pytest.mark.parametrize(
    ("name", "told"),
    [("Forgetful", "callbacks"), ("Broken", "callback mine: KeyError"), ("Flat", "callbacks.mine.table")],
)
def test_a_state_that_cannot_come_back_is_found_at_step_0(
    own: Callable[..., Any], pictures: Path, tmp_path: Path, name: str, told: str
) -> None:
    with pytest.raises(PluginError, match=told) as caught:
        own(CARELESS, {"callback": name})(pictures, tmp_path / "run", callback=["mine"])
    assert caught.value.exit_code == 8
    assert len(str(caught.value).splitlines()) <= 3
    saved, _ = checkpoints.newest_verified(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert saved.step == 0


def test_a_disk_that_forgets_is_found_at_step_0(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = checkpoints.save

    def save_and_damage(directory: Path, step: int, files: dict[str, bytes]) -> Path:
        path = plain(directory, step, files)
        (path / "model.safetensors").write_bytes(b"\0" * 10)
        return path

    monkeypatch.setattr(checkpoints, "save", save_and_damage)
    with pytest.raises(clsfit.errors.CheckpointError):
        train(pictures, tmp_path / "run")


@pytest.mark.parametrize("where", ["checkpoint:fsync:enospc@6", "checkpoint:rename:eio@3", "model:rename:enospc@1"])
def test_a_failed_save_ends_the_run_with_5_and_the_last_good_one_stays(
    pictures: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (train(pictures, tmp_path / "whole").directory / "last.safetensors").read_bytes()
    durable._hits.clear()
    monkeypatch.setenv("CLSFIT_FAILPOINT", where)
    with pytest.raises(ResourceError, match="could not be written"):
        train(pictures, tmp_path / "run")
    monkeypatch.delenv("CLSFIT_FAILPOINT")
    saved, skipped = checkpoints.newest_verified(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert not skipped
    assert not (tmp_path / "run" / "summary.json").exists()
    train(pictures, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == expected


def test_no_thread_outlives_the_run(pictures: Path, tmp_path: Path) -> None:
    train(pictures, tmp_path / "run")
    assert "clsfit-save" not in {thread.name for thread in threading.enumerate()}


def test_a_disk_that_will_be_full_is_told(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "free_bytes", lambda path: 1000)
    run = train(pictures, tmp_path / "run")
    assert "and 1,000 are free" in (run.directory / "log.txt").read_text()


FAILS_AND_FAILS_AGAIN = """
import os

class Fails:
    @hookimpl
    def on_epoch_start(self, run):
        os.environ["CLSFIT_FAILPOINT"] = "log:write:enospc"
        raise ValueError("the first failure")

    @hookimpl
    def on_error(self, run, error):
        raise ValueError("the second")

    @hookimpl
    def on_fit_end(self, run):
        raise ValueError("the third")
"""


def test_a_log_that_is_full_does_not_hide_what_ended_the_run(
    own: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSFIT_FAILPOINT", "none:kill")
    with pytest.raises(PluginError, match="the first failure"):
        own(FAILS_AND_FAILS_AGAIN, {"callback": "Fails"})(pictures, tmp_path / "run", callback=["mine"])
