"""Every way in which a save can end too early: the checkpoint before it stays, and is found."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from clsfit.errors import ResourceError
from clsfit.storage import checkpoints, durable, modelfile
from clsfit.storage.rundir import RunDirectory

WORK = """
import os
import sys
from clsfit.storage import checkpoints, modelfile
from clsfit.storage.rundir import RunDirectory

EMPTY = (2).to_bytes(8, "little") + b"{}"


def files(step, word):
    return {"model.safetensors": word * 9, "state.json": str(step).encode()}


def work(path, step, word):
    directory = RunDirectory(path)
    with directory.lock():
        directory.write_config("data: x")
        directory.write_environment({})
        directory.write_split([])
        directory.metrics.append({"step": step})
        directory.log.append(f"step {step}")
        directory.metrics.sync()
        directory.log.sync()
        checkpoints.save(directory.checkpoints, step, files(step, word))
        checkpoints.prune(directory.checkpoints, keep=2)
        modelfile.write(directory.path / "best.safetensors", EMPTY, {"step": step, "word": word.decode()})
        directory.write_summary({"stop_reason": word.decode()})
        directory.metrics.truncate(0)
        directory.log.truncate(0)


"""
RUN = WORK + "os.fsync = lambda _: None; work(sys.argv[1], int(sys.argv[2]), sys.argv[3].encode())"
NAMESPACE: dict[str, Any] = {}
exec(WORK, NAMESPACE)
work = NAMESPACE["work"]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill or an error leaves what was written, synced or not; see tests/faults/write_path for cuts."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A run with checkpoints of the steps 1, 2 and 3."""
    for step in (1, 2, 3):
        work(tmp_path / "before", step, b"old")
    return tmp_path / "before"


def expect_intact(path: Path, step: int) -> str:
    """The run is as before or as after saving ``step`` anew, in each of its files; returns which by its word."""
    found, skipped = checkpoints.newest_verified(path / "checkpoints")
    assert found is not None
    assert skipped == []
    assert found.step in {3, step}
    word = found.read("model.safetensors")[:3]
    assert word in {b"old", b"new"}
    assert {name: found.read(name) for name in found.hashes} == NAMESPACE["files"](found.step, word)
    model = modelfile.read(path / "best.safetensors").header
    assert model in ({"step": 3, "word": "old"}, {"step": step, "word": "new"})
    directory = RunDirectory(path)
    assert directory.read_summary()["stop_reason"] in {"old", "new"}
    assert directory.read_metrics() in ([], [{"step": step}])
    return word.decode()


def expect_healed(path: Path, step: int) -> None:
    """The same work done again succeeds, and leaves nothing behind."""
    work(path, step, b"new")
    assert expect_intact(path, step) == "new"
    names = {str(entry.relative_to(path)).split("/")[-1] for entry in path.rglob("*")}
    assert not [name for name in names if name.startswith((".tmp-", ".old-"))]
    assert len(list((path / "checkpoints").glob("step-*"))) == 2


def hits(path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The failpoints that the work reaches, in order."""
    seen: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(durable, "failpoint", seen.append)
        work(path, step, b"new")
    return seen


@pytest.mark.parametrize("step", [4, 3], ids=["new", "replaced"])
def test_a_kill_at_any_failpoint_loses_nothing(
    tmp_path: Path,
    before: Path,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
    python: Callable[..., CompletedProcess[str]],
) -> None:
    reached = hits(shutil.copytree(before, tmp_path / "dry"), step, monkeypatch)
    outcomes = []
    for index, name in enumerate(reached):
        hit = reached[: index + 1].count(name)
        path = shutil.copytree(before, tmp_path / f"{index}")
        done = python(RUN, path, str(step), "new", CLSFIT_FAILPOINT=f"{name}:kill@{hit}")
        assert done.returncode == -signal.SIGKILL, (name, done.stderr)
        outcomes.append(expect_intact(path, step))
        expect_healed(path, step)
    assert outcomes == sorted(outcomes, reverse=True)  # old, then new from one instant on
    assert set(outcomes) == {"old", "new"}


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_a_failed_save_is_never_called_saved(
    before: Path, monkeypatch: pytest.MonkeyPatch, action: str, tmp_path: Path
) -> None:
    names = dict.fromkeys(hits(shutil.copytree(before, tmp_path / "dry"), 4, monkeypatch))
    for name in names:
        path = shutil.copytree(before, tmp_path / "try")
        monkeypatch.setenv("CLSFIT_FAILPOINT", f"{name}:{action}")
        with pytest.raises(ResourceError) as error:
            work(path, 4, b"new")
        assert os.strerror(errno.ENOSPC if action == "enospc" else errno.EIO).lower() in str(error.value)
        assert len(str(error.value).splitlines()) == 3
        monkeypatch.delenv("CLSFIT_FAILPOINT")
        expect_intact(path, 4)
        shutil.rmtree(path)


def test_the_failpoints_are_those_that_are_listed(
    tmp_path: Path, before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = set(hits(before, 4, monkeypatch)) | set(hits(before, 4, monkeypatch))
    with monkeypatch.context() as patched:
        patched.setattr(durable, "failpoint", reached.add)
        for name in ("predictions", "import", "survey", "table", "sheet"):
            durable.write_file(tmp_path / name, b"", failpoint=name)
        checkpoints.set_aside([next((before / "checkpoints").glob("step-*"))])
        RunDirectory(before).clear()
    assert durable.__doc__
    text = durable.__doc__
    steps = re.search(r"where ``\*`` is ``([a-z -]+)``", text)
    assert steps
    listed: set[str] = set()
    for name in re.findall(r"[a-z]+:[a-z*-]+", text.partition("=====")[2]):
        listed |= {name.replace("*", step) for step in steps[1].split()} if name.endswith("*") else {name}
    assert reached == listed


def test_stop_holds_the_process_at_the_failpoint(before: Path) -> None:
    if (child := os.fork()) == 0:
        os.environ["CLSFIT_FAILPOINT"] = "checkpoint:rename:stop"
        try:
            work(before, 4, b"new")
        finally:
            os._exit(0)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    assert expect_intact(before, 4) == "old"
    assert list((before / "checkpoints").glob(".tmp-*"))
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert expect_intact(before, 4) == "new"
