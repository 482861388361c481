"""Rows 8 to 11: damaged checkpoints, and resuming with what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Kept = Callable[[Path], Path]

pytestmark = pytest.mark.faults


def steps(run: Path) -> list[Path]:
    """The checkpoints, newest first."""
    return sorted((run / "checkpoints").glob("step-*"), reverse=True)


def flip(path: Path, seed: int) -> None:
    data, draw = bytearray(path.read_bytes()), np.random.default_rng(seed)
    data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": lambda step: flip(step / "model.safetensors", 1),
    "a bit of the state": lambda step: flip(step / "state.json", 2),
    "a bit of the manifest": lambda step: flip(step / "manifest.json", 3),
    "a cut": lambda step: (step / "state.safetensors").write_bytes((step / "state.safetensors").read_bytes()[:-9]),
    "an empty file": lambda step: (step / "model.safetensors").write_bytes(b""),
    "a missing file": lambda step: (step / "state.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_row08_a_damaged_checkpoint_is_left_aside_and_named(
    fault: Any, data: Path, small: list[str], stopped: Path, finished: Path, damage: str
) -> None:
    newest, before = steps(stopped)[:2]
    DAMAGE[damage](newest)
    done = fault(0, "train", data, *(option for option in small if option != "-q"), "-o", stopped, "--resume")
    assert f"{newest} is left aside: " in done.err
    assert f"resumed at step {int(before.name.removeprefix('step-'))} " in done.err
    assert (stopped / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()


def test_row09_all_checkpoints_bad(fault: Any, data: Path, small: list[str], stopped: Path, kept: Kept) -> None:
    for seed, step in enumerate(steps(stopped)):
        flip(step / "model.safetensors", seed)
    kept(stopped / "checkpoints")
    kept(stopped / "metrics.jsonl")
    told = [f"none of {len(steps(stopped))} checkpoints", *(step.name for step in steps(stopped)), "--overwrite"]
    fault(4, "train", data, *small, "-o", stopped, "--resume", tells=told)


def test_row10_another_configuration(fault: Any, data: Path, small: list[str], stopped: Path, kept: Kept) -> None:
    kept(stopped / "checkpoints")
    command = ("train", data, *small, "-o", stopped, "--resume")
    fault(4, *command, "--loss", "focal", tells=["loss", "cross_entropy", "focal", "--accept-changes"])
    fault(4, *command, "--seed", "7", tells=["seed", "7", "--accept-changes"])
    shutil.copytree(stopped, stopped.parent / "other")
    command = ("train", data, *small, "-o", stopped.parent / "other", "--resume", "--accept-changes")
    fault(0, *command, "--loss", "focal")
    assert "focal" in (stopped.parent / "other" / "config.yaml").read_text()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a picture more": (lambda top: shutil.copy(top / "dots/000.png", top / "dots/new.png"), "1 new (dots/new.png)"),
    "a picture less": (lambda top: (top / "dots/000.png").unlink(), "1 missing (dots/000.png)"),
    "a picture renamed": (lambda top: (top / "dots/000.png").rename(top / "dots/x.png"),
                          "1 new (dots/x.png); 1 missing"),
    "another label": (lambda top: (top / "dots/000.png").rename(top / "bars/x.png"), "1 new (bars/x.png); 1 missing"),
    "another size in bytes": (lambda top: (top / "dots/000.png").write_bytes(
        (top / "dots/000.png").read_bytes() + b"\0"), "changed in size"),
    "another name of a class": (lambda top: (top / "dots").rename(top / "spots"), "22 new"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_row10_other_data(fault: Any, mutable: Path, small: list[str], stopped: Path, kept: Kept, change: str) -> None:
    edit, told = CHANGES[change]
    edit(mutable)
    kept(mutable)
    before = kept(stopped / "checkpoints")
    command = ("train", mutable, *small, "-o", stopped, "--resume")
    fault(4, *command, tells=["the data set is not the one", told, "--accept-changes"])
    if change == "a picture more":
        other = Path(shutil.copytree(stopped, stopped.parent / "other"))
        fault(0, "train", mutable, *small, "-o", other, "--resume", "--accept-changes")
        assert "dots/new.png" in (other / "split.csv").read_text()
    assert before.exists()


@pytest.mark.parametrize(("workers", "cache"), [("0", "off"), ("4", "disk")])
def test_row11_other_workers_and_another_cache(
    fault: Any, data: Path, small: list[str], stopped: Path, finished: Path, workers: str, cache: str
) -> None:
    for step in steps(stopped)[:1]:
        shutil.rmtree(step)  # so that something is left to be trained
    fault(0, "train", data, *small, "-o", stopped, "--resume", "--workers", workers, "--cache", cache)
    assert (stopped / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()
