"""How worker processes end: with their parent, by a signal, when they are closed; and that nothing is left of them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data.canvases import build
from clsfit.data.child import Worker
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.errors import ResourceError

METHODS = ["fork", "spawn"]
PREPARE = Prepare(3, 12)

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
open(sys.argv[1] + "/times-this-ran", "a").write("x")
import threading, torch
from rows_of_the_test import Rows
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
pool = Decoders(sys.argv[2], 3)
decode = pool.start(Rows(9, {0: "wait", 1: "wait"}, sys.argv[1] + "/marks"), Prepare(3))
print(*(worker.process.pid for worker in pool._team), decode(5).ravel().tolist()[2], flush=True)
for row in (0, 1):
    threading.Thread(target=decode, args=(row,), daemon=True).start()
sys.stdin.read()
"""


InAThread = Callable[[Callable[[], object]], Callable[[], object]]


def test_a_spawned_worker_never_sees_torch_or_the_program(rows: Callable[..., Any], tmp_path: Path) -> None:
    rows(1)
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path), "spawn"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline().split()[-1] == "0"
        process.kill()
    assert (tmp_path / "times-this-ran").read_text() == "x"


@pytest.mark.parametrize("method", METHODS)
def test_no_worker_outlives_a_killed_parent_even_in_the_middle_of_a_picture(
    rows: Callable[..., Any],
    tmp_path: Path,
    method: str,
    gone: Callable[[int], bool],
    eventually: Callable[..., None],
) -> None:
    rows(1)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), method], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    pids = [int(pid) for pid in process.stdout.readline().split()[:-1]]
    assert len(pids) == 3
    eventually(lambda: len(list((tmp_path / "marks").iterdir())) == 2)
    assert not any(gone(pid) for pid in pids)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    try:
        eventually(lambda: all(gone(pid) for pid in pids), seconds=10)
    finally:
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_worker_ends_the_work_and_names_the_picture(
    rows: Callable[..., Any],
    store: Path,
    tmp_path: Path,
    method: str,
    eventually: Callable[..., None],
    in_a_thread: InAThread,
) -> None:
    marks = tmp_path / "marks"

    def kill() -> None:
        eventually(lambda: any(marks.iterdir()))
        pid = int(next(marks.iterdir()).name)
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)

    source = rows(200, {37: "wait"})
    with Decoders(method, 2) as decoders:
        decoders.start(source, PREPARE)
        options: dict[str, Any] = {"cache": "off", "workers": 2, "skip_bad": True, "cache_dir": store}
        working = in_a_thread(lambda: build(source, np.arange(200), PREPARE, decoders=decoders, **options))
        kill()
        error = working()
    assert isinstance(error, ResourceError)
    assert error.exit_code == 5
    assert error.what == "a worker was killed by signal 9 (SIGKILL)"
    assert error.where == "at picture row 37"
    assert "--workers" in error.remedy


def test_a_crash_of_a_decoder_is_told_with_its_signal(rows: Callable[..., Any]) -> None:
    with Decoders("fork", 1) as decoders:
        decode = decoders.start(rows(3, {1: "die"}), PREPARE)
        with pytest.raises(ResourceError, match=r"killed by signal 11 \(SIGSEGV\)\nat picture row 1\nlook at"):
            decode(1)
        with pytest.raises(ResourceError, match="killed by signal 11"):  # and whoever asks next does not wait
            decode(2)


def test_signals_for_the_job_are_the_parents(rows: Callable[..., Any]) -> None:
    for method in METHODS:
        with Decoders(method, 2) as decoders:
            decode = decoders.start(rows(8), PREPARE)
            for worker in decoders._team:
                assert isinstance(worker, Worker)
                for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
                    os.kill(_pid(worker), getattr(signal, name))
            assert [int(decode(row)[0, 0, 0]) for row in range(8)] == list(range(8))
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _pid(worker: Worker) -> int:
    return int(getattr(worker.process, "pid"))  # noqa: B009  two kinds of process


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left(
    rows: Callable[..., Any], children: Callable[[int], list[int]], in_a_thread: InAThread, method: str
) -> None:
    def state() -> tuple[Any, ...]:
        return sorted(children(os.getpid())), len(os.listdir("/dev/fd")), threading.active_count()

    before, shared = state(), _shared(os.getpid())
    for end in ("closed", "error"):
        try:
            with Decoders(method, 3) as decoders:
                decode = decoders.start(rows(3), PREPARE)
                assert decode(1)[0, 0, 0] == 1
                during = state()
                assert len(during[0]) == len(before[0]) + 3
                assert set().union(*map(_shared, (os.getpid(), *during[0]))) <= shared
                if end == "error":
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert state() == before
        assert "have been ended" in str(in_a_thread(partial(decode, 1))())  # nor does anybody wait for ever


def _shared(pid: int) -> set[str]:
    """The files of /dev/shm that a process has open or mapped, where the system tells; libraries have some too."""
    place = Path(f"/proc/{pid}")
    if not place.is_dir():
        return set()
    handles = [os.path.realpath(handle) for handle in (place / "fd").iterdir()]
    mapped = [line.split(maxsplit=5)[-1] for line in (place / "maps").read_text().splitlines()]
    return {name for name in (*handles, *mapped) if name.startswith("/dev/shm")}


def test_closing_takes_pictures_from_under_the_threads(
    rows: Callable[..., Any], tmp_path: Path, eventually: Callable[..., None], in_a_thread: InAThread
) -> None:
    with Decoders("fork", 1) as decoders:
        decode = decoders.start(rows(9, {1: "wait"}), PREPARE)
        asking = in_a_thread(lambda: decode(1))
        eventually(lambda: any((tmp_path / "marks").iterdir()))
        waiting = [in_a_thread(lambda: decode(2)) for _ in range(3)]
    for result in (asking, *waiting):
        assert "have been ended" in str(result())


def test_a_fork_leaves_the_parents_garbage_alone(rows: Callable[..., Any], tmp_path: Path) -> None:
    class Garbage:
        def __del__(self) -> None:
            (tmp_path / f"deleted by {os.getpid()}").touch()

    gc.disable()
    try:
        garbage: Any = Garbage()
        garbage.itself = garbage
        del garbage
        with Decoders("fork", 1) as decoders:
            decoders.start(rows(2, {1: "collect"}), PREPARE)(1)
        assert not list(tmp_path.glob("deleted*"))
        gc.collect()
        assert [path.name for path in tmp_path.glob("deleted*")] == [f"deleted by {os.getpid()}"]
    finally:
        gc.enable()


def test_the_parents_ends_are_open_in_no_fork(rows: Callable[..., Any]) -> None:
    with Decoders("fork", 2) as decoders:
        decode = decoders.start(rows(3), PREPARE)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            left = [end.fileno() for end in decoders._ends]
            os.write(writing, repr(left).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 100) == b"[]"
        os.close(reading)
        os.close(writing)
        assert decode(1)[0, 0, 0] == 1


@pytest.mark.parametrize("method", METHODS)
def test_too_few_open_files(rows: Callable[..., Any], tmp_path: Path, method: str) -> None:
    rows(1)
    script = """
import resource, subprocess, sys
sys.path.insert(0, sys.argv[1])
from rows_of_the_test import Rows
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.errors import ResourceError
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 64))
try:
    Decoders(sys.argv[2], 20).start(Rows(9), Prepare(3))
except ResourceError as error:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    print(error)
    import os
    print(sum(line.split()[0] == str(os.getpid()) for line in
              subprocess.check_output(["ps", "-A", "-o", "ppid="], text=True).splitlines()))
"""
    told = subprocess.check_output([sys.executable, "-c", script, str(tmp_path), method], text=True).splitlines()
    assert told[0].startswith("20 workers cannot be started: too many open files after ")
    assert told[1] == "a process may have 16 files open here (ulimit -n)"
    assert "--workers" in told[2]
    assert told[3] == "1"  # ps itself
