"""Every step of the write path, and every way in which it can end there: nothing acknowledged is lost.

A life of a run is cut into stages. After each there is a list of what holds (``Stage.after``). Whatever ends a
stage early, each entry of the list is as before the stage or as after it, and a later save heals the rest.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clsfit.errors import CheckpointError, ResourceError
from clsfit.storage import checkpoints, manifest, modelfile
from clsfit.storage.durable import write_file
from clsfit.storage.rundir import RunDirectory

BEST = 1  # the step that is never pruned
DECAYED = "step-00000005"  # what the disk damages after it was saved
ROWS = [{"path": "a/1.png", "label": "a", "group": "", "split": "train"}]
WEIGHTS = (2).to_bytes(8, "little") + b"{}"
_STEP = re.compile(r"(?:step|\.old)-([0-9]{8}).*")
_SAVING = re.compile(r"\.tmp-([0-9]{8})-[0-9a-f]{8}")

Promises = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A part of a run's life: what is done, and which promises are other ones after it."""

    act: Callable[[RunDirectory], object]
    after: Promises = field(default_factory=dict)
    decay: str = ""  # a file of the run that the disk has damaged until this stage


def weights(step: int, word: str) -> bytes:
    return random.Random(f"{step} {word}").randbytes(150 + step)


def save(step: int, word: str = "old", prune: bool = True) -> Callable[[RunDirectory], None]:
    def act(run: RunDirectory) -> None:
        run.log.append(f"step {step} {word}")
        run.metrics.append({"step": step})
        lengths = {"log": run.log.sync(), "metrics": run.metrics.sync()}
        state = json.dumps({"word": word} | lengths).encode()
        checkpoints.save(run.checkpoints, step, {"model.safetensors": weights(step, word), "state.json": state})
        if prune:
            checkpoints.prune(run.checkpoints, keep=2, never={BEST})

    return act


def model(name: str, word: str) -> Callable[[RunDirectory], None]:
    return lambda run: modelfile.write(run.path / name, WEIGHTS, {"word": word})


def cut_logs(run: RunDirectory) -> None:
    """As a resume does. One that a failing disk keeps from reading the newest checkpoint must not go on."""
    found, skipped = checkpoints.newest_verified(run.checkpoints)
    if any(path.name != DECAYED for path, _ in skipped):
        raise CheckpointError("an intact checkpoint could not be read")
    lengths = json.loads(found.read("state.json")) if found else {"log": 0, "metrics": 0}
    run.log.append("a line that no checkpoint knows")
    run.log.truncate(lengths["log"])
    run.metrics.truncate(lengths["metrics"])


NOTHING: Promises = dict.fromkeys(("config", "environment", "split", "summary", "best", "last", "newest")) | {
    "skipped": (),
    "second": None,
    "best kept": False,
}
LIFE = (
    Stage(lambda run: run.write_config("data: x"), {"config": "data: x"}),
    Stage(lambda run: run.write_environment({"threads": 1}), {"environment": {"threads": 1}}),
    Stage(lambda run: run.write_split(ROWS), {"split": ROWS}),
    Stage(save(BEST), {"newest": (1, "old"), "best kept": True}),
    Stage(save(2), {"newest": (2, "old"), "second": 1}),
    Stage(model("best.safetensors", "old"), {"best": "old"}),
    Stage(model("last.safetensors", "old"), {"last": "old"}),
    Stage(save(3), {"newest": (3, "old"), "second": 2}),
    Stage(save(4), {"newest": (4, "old"), "second": 3}),
    Stage(save(4, "new"), {"newest": (4, "new")}),  # in place of the other
    Stage(model("best.safetensors", "new"), {"best": "new"}),
    Stage(model("last.safetensors", "new"), {"last": "new"}),
    Stage(cut_logs),
    Stage(save(5, prune=False), {"newest": (5, "old"), "second": 4}),
    Stage(
        lambda run: None,
        {"newest": (4, "new"), "second": 3, "skipped": (DECAYED,)},
        f"checkpoints/{DECAYED}/model.safetensors",
    ),
    Stage(lambda run: checkpoints.prune(run.checkpoints, keep=2, never={BEST})),
    Stage(save(6), {"newest": (6, "old"), "second": 4, "skipped": ()}),
    Stage(lambda run: run.write_summary({"stop_reason": "done"}), {"summary": "done"}),
)


def held(stages: int) -> tuple[Promises, Promises]:
    """What holds before the stage of this number, and after it."""
    before = dict(NOTHING)
    for stage in LIFE[:stages]:
        before |= stage.after
    return before, before | (LIFE[stages].after if stages < len(LIFE) else {})


def observed(path: Path) -> Promises:
    """What holds of the run at ``path``; anything torn or damaged that is not stepped over raises."""
    run = RunDirectory(path)
    found, skipped = checkpoints.newest_verified(run.checkpoints)
    seen = NOTHING | {"skipped": tuple(place.name for place, _ in skipped)}
    if found is not None:
        state = json.loads(found.read("state.json"))
        assert found.read("model.safetensors") == weights(found.step, state["word"])
        known = (path / "log.txt").read_bytes()[: state["log"]]
        assert known.endswith(f"step {found.step} {state['word']}\n".encode())
        assert len((path / "metrics.jsonl").read_bytes()[: state["metrics"]]) == state["metrics"]
        seen["newest"] = found.step, state["word"]
    good = good_steps(run.checkpoints)
    seen |= {"second": sorted(good)[-2] if len(good) > 1 else None, "best kept": BEST in good}
    if run.holds_run():
        seen["config"] = run.read_config()
    if (path / "environment.json").exists():
        seen["environment"] = run.read_environment()
    if (path / "split.csv").exists():
        seen["split"] = run.read_split()
    if (path / "summary.json").exists():
        seen["summary"] = run.read_summary()["stop_reason"]
    for name in ("best", "last"):
        if (path / f"{name}.safetensors").exists():
            seen[name] = modelfile.read(path / f"{name}.safetensors").header["word"]
    return seen


def good_steps(directory: Path) -> set[int]:
    good = set()
    for path in directory.glob("*"):
        if match := _STEP.fullmatch(path.name):
            with suppress(manifest.DamagedError):
                manifest.verified(path, int(match[1]))
                good.add(int(match[1]))
    return good


def expect_kept(path: Path, stages: int, fault: str) -> None:
    """Each promise is as before the stage of this number or as after it."""
    before, after = held(stages)
    seen = observed(path)
    for key, value in seen.items():
        assert value in (before[key], after[key]), f"{fault}: {key} is {value} in stage {stages}: {path}"


def expect_manifest_last(path: Path, fault: str) -> None:
    """In a checkpoint that is being written, a whole manifest vouches for files that are there."""
    for folder in path.glob("checkpoints/.tmp-*"):
        match = _SAVING.fullmatch(folder.name)
        written = folder / "manifest.json"
        if match and written.exists() and written.read_bytes().endswith(b"}\n"):
            manifest.verified(folder, int(match[1]))


def expect_healed(path: Path, stages: int, fault: str) -> None:
    """The run can be locked, with which nothing is lost, saved and judged again, and nothing is left behind."""
    with RunDirectory(path).lock() as run:
        expect_kept(path, stages, f"{fault}, swept")
        cut_logs(run)
        save(9, "healed")(run)
        model("best.safetensors", "healed")(run)
    seen = observed(path)
    assert (seen["newest"], seen["best"], seen["skipped"]) == ((9, "healed"), "healed", ()), fault
    left = [entry for entry in path.rglob("*") if entry.name.startswith((".tmp-", ".old-"))]
    assert left == [], fault


def decay(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.fixture
def lived(disk: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The disk that the whole life was written to."""
    path = Path(disk.root) / "run"
    with monkeypatch.context() as patched:
        disk.patch(patched)
        run = RunDirectory(path).lock()
        for number, stage in enumerate(LIFE):
            if stage.decay:
                decay(path / stage.decay)
                disk.decayed(path / stage.decay)
            stage.act(run)
            disk.acknowledged = number + 1
            disk.snap()
        run.close()
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the states are checked on a disk that works
    return disk


def test_a_kill_after_any_system_call_loses_nothing(lived: Any, lay_out: Callable[..., Path]) -> None:
    for stages, tree in lived.killed:
        path = lay_out(tree) / "run"
        expect_kept(path, stages, "kill")
        expect_manifest_last(path, "kill")
        if (path / "metrics.jsonl").exists():
            assert all(isinstance(row["step"], int) for row in RunDirectory(path).read_metrics())
        expect_healed(path, stages, "kill")
        shutil.rmtree(path.parent)
    print(f"\n{len(lived.killed)} states of a kill")
    assert len(lived.killed) > 280


def test_a_power_cut_at_any_instant_loses_nothing(lived: Any, lay_out: Callable[..., Path]) -> None:
    states = lived.cut - lived.killed
    for stages, tree in states:
        path = lay_out(tree) / "run"
        expect_kept(path, stages, "power cut")
        expect_manifest_last(path, "power cut")
        expect_healed(path, stages, "power cut")
        shutil.rmtree(path.parent)
    print(f"\n{len(states)} states of a power cut")
    assert len(states) > 700


@pytest.mark.parametrize("ever_after", [False, True], ids=["once", "ever-after"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["no-space", "io-error"])
def test_a_failure_of_any_system_call_loses_nothing(
    code: int,
    ever_after: bool,
    faults: Any,
    tree_of: Callable[..., Any],
    no_chance: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
) -> None:
    monkeypatch.setattr(faults, "real", faults.real | {"fsync": lambda _: None})
    so_far, states, failures = place / "so-far", set(), 0
    for number, stage in enumerate(LIFE):
        for at in range(1, 1000):
            path, fault = place / "run", f"call {at} of stage {number}"
            if so_far.exists():
                shutil.copytree(so_far, path)
            if stage.decay:
                decay(path / stage.decay)
            no_chance()
            faults.arm(at, code, ever_after)
            acknowledged = lives(path, stage)
            happened = faults.disarm()
            states.add((number, tree_of(path)))
            expect_kept(path, number, fault)
            if acknowledged:
                assert observed(path) == held(number)[1], fault
            failures += not acknowledged
            if not happened:
                break
            expect_healed(path, number, fault)
            shutil.rmtree(path)
        shutil.rmtree(so_far, ignore_errors=True)
        path.rename(so_far)
    print(f"\n{failures} failures, {len(states)} different states")
    assert failures > 400


def lives(path: Path, stage: Stage) -> bool:
    """Whether the stage was acknowledged. To fail is to say that the disk cannot be written, or not be read."""
    try:
        with RunDirectory(path).lock() as run:
            stage.act(run)
    except (ResourceError, CheckpointError):
        return False
    return True


def test_a_cleared_run_is_never_half_a_run_without_configuration(
    lived: Any, lay_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.killed.clear(), lived.cut.clear()
    with monkeypatch.context() as patched, RunDirectory(Path(lived.root) / "run").lock() as directory:
        patched.setattr(os, "fsync", lambda _: None)
        lived.patch(patched)
        directory.clear()
    states = lived.killed | lived.cut
    for _, tree in states:
        run = RunDirectory(lay_out(tree) / "run")
        assert run.holds_run() or not (run.holds_checkpoint() or run.complete())
        with suppress(CheckpointError):
            assert run.read_config() == "data: x"
    print(f"\n{len(states)} states of a clearing")
    assert len(states) > 400


@pytest.mark.parametrize("broken", ["fsync", "sync_directory"])
def test_this_disk_does_lose_what_is_not_synced(disk: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(f"clsfit.storage.durable.{'sync' if broken == 'fsync' else broken}", lambda *_: None)
    disk.patch(monkeypatch)
    write_file(Path(disk.root) / "x", b"data", failpoint="x")
    disk.cut.clear()
    disk.snap()
    found = {dict(tree).get("x") for _, tree in disk.cut}
    assert found >= ({b"", b"\0\0\0\0"} if broken == "fsync" else {None, b"data"})
