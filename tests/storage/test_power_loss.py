"""A power cut at any instant keeps what was acknowledged, whatever the disk did with the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.storage import checkpoints, modelfile
from clsfit.storage.durable import write_file
from clsfit.storage.rundir import RunDirectory

EMPTY = (2).to_bytes(8, "little") + b"{}"


def content(step: int, log: int) -> dict[str, bytes]:
    return {"model.safetensors": b"w" * (10 + step), "state.json": json.dumps({"log": log}).encode()}


def test_an_acknowledged_checkpoint_survives(disk: Any, lay_out: Callable[..., Path]) -> None:
    directory = RunDirectory(Path(disk.root) / "runs" / "x")
    with directory.lock():
        for step in (1, 2, 3, 4, 4):
            directory.log.append(f"step {step}")
            checkpoints.save(directory.checkpoints, step, content(step, directory.log.sync()))
            disk.acknowledged = step
            checkpoints.prune(directory.checkpoints, keep=2)
    assert len(disk.states) > 250
    for acknowledged, tree in disk.states:
        run = RunDirectory(lay_out(tree) / "runs" / "x")
        if acknowledged == 0:
            with_none(run)
            continue
        found, _ = checkpoints.newest_verified(run.checkpoints)
        assert found is not None
        assert found.step in {acknowledged, acknowledged + 1}
        length = json.loads(found.read("state.json"))["log"]
        assert found.read("model.safetensors") == content(found.step, length)["model.safetensors"]
        assert len((run.path / "log.txt").read_bytes()[:length].splitlines()) >= found.step


def with_none(run: RunDirectory) -> None:
    """Before the first save ends there may be the whole checkpoint or none, never half of it."""
    found, skipped = checkpoints.newest_verified(run.checkpoints)
    assert skipped == []
    assert found is None or found.step == 1


def test_a_model_file_is_old_or_new(disk: Any, lay_out: Callable[..., Path]) -> None:
    for epoch in (1, 2, 3):
        modelfile.write(Path(disk.root) / "best.safetensors", EMPTY, {"epoch": epoch})
        disk.acknowledged = epoch
    for acknowledged, tree in disk.states:
        path = lay_out(tree) / "best.safetensors"
        if acknowledged == 0 and not path.exists():
            continue
        assert modelfile.read(path).header["epoch"] in {acknowledged, acknowledged + 1}


def test_a_cleared_run_is_never_half_a_run_without_configuration(disk: Any, lay_out: Callable[..., Path]) -> None:
    directory = RunDirectory(Path(disk.root) / "x")
    with directory.lock():
        directory.write_config("data: x")
        checkpoints.save(directory.checkpoints, 1, content(1, 0))
        directory.write_summary({"stop_reason": "done"})
        disk.states.clear()
        directory.clear()
    for _, tree in disk.states:
        run = RunDirectory(lay_out(tree) / "x")
        assert run.holds_run() or not (run.holds_checkpoint() or run.complete())


@pytest.mark.parametrize("broken", ["fsync", "sync_directory"])
def test_this_disk_does_lose_what_is_not_synced(
    disk: Any, lay_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(f"clsfit.storage.durable.{'sync' if broken == 'fsync' else broken}", lambda *_: None)
    write_file(Path(disk.root) / "x", b"data", failpoint="x")
    disk.snap()
    found = {dict(tree).get("x") for _, tree in disk.states}
    assert found >= ({b"", b"\0\0\0\0"} if broken == "fsync" else {None, b"data"})
    disk.states.clear()
    disk.snap()
    assert {dict(tree).get("x") for _, tree in disk.states} != {b"data"}
