"""Whole runs whose pictures are decoded in processes: the same weights, and the same after every kind of end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Clsfit = Callable[..., subprocess.CompletedProcess[str]]

_SMALL = ("--epochs", 2, "--input-size", 16, "--augment", "hflip", "-q")
_LONG = ("--epochs", 25, "--input-size", 16, "--callback.checkpoint.every_epochs", 1)
_STREAM = ("--workers", 2, "--cache", "off")


def _digest(run: Path) -> str:
    return hashlib.sha256((run / "last.safetensors").read_bytes()).hexdigest()


def _cells() -> Iterator[Any]:
    for method in ("fork", "spawn"):
        for workers in (0, 1, 2, 4):
            for cache in ("off", "memory", "disk"):
                usual = (method, workers, cache) in {("fork", 2, "off"), ("spawn", 1, "off"), ("spawn", 2, "memory")}
                yield pytest.param(method, workers, cache, marks=[] if usual else pytest.mark.faults)


@pytest.fixture(scope="module")
def expected(pictures: Path, tmp_path_factory: pytest.TempPathFactory, run_command: Any) -> dict[tuple[Any, ...], str]:
    """The weights' digest of both kinds of run, by threads."""
    found = {}
    for options in (_SMALL, _LONG):
        run = tmp_path_factory.mktemp("threads") / "run"
        command = ["train", pictures, *options, "--workers", 0, "--cache", "off", "-o", run]
        code, _, told = run_command(command, run.parent, os.environ)
        assert code == 0, told
        found[options] = _digest(run)
    return found


@pytest.mark.parametrize(("method", "workers", "cache"), list(_cells()))
def test_one_weights_hash(
    clsfit: Clsfit, pictures: Path, tmp_path: Path, expected: Any, method: str, workers: int, cache: str
) -> None:
    more = ("--start-method", method, "--workers", workers, "--cache", cache)
    clsfit("train", pictures, *_SMALL, *more, "-o", "run", CLSFIT_CACHE=str(tmp_path / "cache"))
    assert _digest(tmp_path / "run") == expected[_SMALL]


@pytest.mark.faults
def test_pictures_that_are_in_no_file(clsfit: Clsfit, tmp_path: Path) -> None:
    for method in ("thread", "spawn"):
        done = clsfit(
            "train", "digits", "--epochs", 1, "--start-method", method, "--workers", 2,
            "--cache", "off", "-o", method,
        )  # fmt: skip
        assert ("2 processes (spawn)" in done.stderr) == (method == "spawn"), done.stderr
    assert _digest(tmp_path / "thread") == _digest(tmp_path / "spawn")


class Running:
    """``clsfit train`` in a session of its own, past its first epochs."""

    def __init__(self, pictures: Path, run: Path, method: str, eventually: Any, children: Any) -> None:
        command = [sys.executable, "-m", "clsfit", "train", pictures, *_LONG, *_STREAM, "--start-method", method]
        self.process = subprocess.Popen(
            [*map(str, command), "-o", str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        metrics = run / "metrics.jsonl"
        ended = lambda: self.process.poll() is not None  # noqa: E731
        eventually(lambda: ended() or (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2))
        assert not ended(), self.process.communicate()
        self.workers = children(self.process.pid)


@pytest.fixture
def running(pictures: Path, tmp_path: Path, eventually: Any, children: Any) -> Iterator[Callable[[str], Running]]:
    """``running("fork")``: a run in ``tmp_path/run`` in the middle of its training."""
    started: list[Running] = []

    def start(method: str) -> Running:
        started.append(Running(pictures, tmp_path / "run", method, eventually, children))
        return started[-1]

    yield start
    for run in started:
        for pid in (run.process.pid, *run.workers):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        run.process.communicate()


def _resumed(clsfit: Clsfit, pictures: Path, run: Path) -> str:
    clsfit("train", pictures, "-o", run, "--resume", "-q", "--start-method", "thread")
    return _digest(run)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.faults)])
def test_a_killed_worker_ends_the_run_and_costs_nothing(
    running: Any, clsfit: Clsfit, pictures: Path, tmp_path: Path, expected: Any, gone: Any, eventually: Any, method: str
) -> None:
    run = running(method)
    assert len(run.workers) == 2
    os.kill(run.workers[0], signal.SIGKILL)
    _, told = run.process.communicate(timeout=60)
    assert run.process.returncode == 5, told
    assert "clsfit: error: a worker was killed by signal 9 (SIGKILL)\n  at picture " in told
    assert ".png" in told
    assert "--workers" in told
    assert "Traceback" not in told
    eventually(lambda: all(gone(pid) for pid in run.workers), seconds=10)
    assert _resumed(clsfit, pictures, tmp_path / "run") == expected[_LONG]


@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=pytest.mark.faults)])
def test_ctrl_c_reaches_all_and_is_the_parents_to_act_on(
    running: Any, clsfit: Clsfit, pictures: Path, tmp_path: Path, expected: Any, gone: Any, eventually: Any, method: str
) -> None:
    run = running(method)
    assert len(run.workers) == 2
    os.killpg(run.process.pid, signal.SIGINT)
    _, told = run.process.communicate(timeout=60)
    assert run.process.returncode == 130, told
    assert "saved at step" in told
    assert "Traceback" not in told
    eventually(lambda: all(gone(pid) for pid in run.workers), seconds=10)
    assert _resumed(clsfit, pictures, tmp_path / "run") == expected[_LONG]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.faults)])
def test_a_killed_run_leaves_no_worker_and_no_lock(
    running: Any, clsfit: Clsfit, pictures: Path, tmp_path: Path, expected: Any, gone: Any, eventually: Any, method: str
) -> None:
    run = running(method)
    assert len(run.workers) == 2
    run.process.kill()
    assert run.process.wait() == -signal.SIGKILL
    eventually(lambda: all(gone(pid) for pid in run.workers), seconds=10)
    assert _resumed(clsfit, pictures, tmp_path / "run") == expected[_LONG]


@pytest.mark.faults
def test_workers_do_not_hold_the_lock(running: Any, tmp_path: Path) -> None:
    run = running("fork")
    lock = str((tmp_path / "run" / ".lock").resolve())
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("handles of other processes are seen in /proc only")
    held = {
        pid: [os.path.realpath(f"/proc/{pid}/fd/{handle}") for handle in os.listdir(f"/proc/{pid}/fd")]
        for pid in (run.process.pid, *run.workers)
    }
    assert lock in held[run.process.pid]
    for pid in run.workers:
        assert lock not in held[pid]
        assert sum("socket" in target for target in held[pid]) == 1


@pytest.mark.faults
def test_errors_of_the_command(clsfit: Clsfit, drawn: Any, tmp_path: Path) -> None:
    data = drawn(tmp_path / "shapes")
    (data / "bars" / "000.png").write_bytes((data / "bars" / "000.png").read_bytes()[:60])
    (data / "dots" / "001.png").write_bytes((data / "dots" / "001.png").read_bytes()[:-30])
    told = {}
    for method in ("thread", "fork", "spawn"):
        done = clsfit("train", data, "--start-method", method, "--workers", 2, "-o", method, code=3)
        told[method] = done.stderr
        assert "bars/000.png" in done.stderr
        assert "dots/001.png" in done.stderr
    assert told["fork"] == told["spawn"] == told["thread"]


@pytest.mark.faults
def test_too_few_open_files_for_the_workers(clsfit: Clsfit, pictures: Path, tmp_path: Path) -> None:
    command = f"ulimit -n 64; exec {sys.executable} -m clsfit train {pictures} --workers 99 --start-method fork -o run"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 5, done.stderr
    assert "99 workers cannot be started: too many open files" in done.stderr
    assert "64 files open here (ulimit -n)" in done.stderr
