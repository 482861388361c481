"""Pictures decoded in worker processes: the same bits and errors as in threads, and nothing is left of them."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data.canvases import Canvases, build
from clsfit.data.checks import refuse
from clsfit.data.child import Worker
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.data.sources import FolderSource, folder
from clsfit.errors import ConfigError, DataError, PluginError, ResourceError

METHODS = ["fork", "spawn"]
TIERS = {"memory": "memory", "disk": "disk", "off": "stream"}
PREPARE = Prepare(3, 12)

MODULE = '''
"""A data set whose pictures are 1x1: their row, and what its process has; some do something else."""
import faulthandler, gc, os, signal, sys, time
from types import SimpleNamespace

import numpy as np

from clsfit.data.decode import PictureError
from clsfit.errors import DataError


class Rows:
    def __init__(self, count, acts=None, marks=None):
        self.count, self.acts, self.marks = count, acts or {}, marks

    def table(self):
        return SimpleNamespace(paths=[f"row {i}" for i in range(self.count)])

    def read(self, row):
        act = self.acts.get(row)
        if act == "wait":
            open(os.path.join(self.marks, str(os.getpid())), "w").close()
            time.sleep(600)
        if act == "die":
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "collect":
            gc.collect()
        if isinstance(act, BaseException):
            raise act
        time.sleep(0.0005 * (row * 7 % 3))
        return np.array([[[row % 256, row // 256, "torch" in sys.modules]]], dtype=np.uint8)
'''

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


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``rows(count, {row: act})``: a data set in a module of its own, which a fresh interpreter can import."""
    (tmp_path / "rows_of_the_test.py").write_text(MODULE)
    (tmp_path / "marks").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("rows_of_the_test")
    yield lambda count, acts=None: module.Rows(count, acts, str(tmp_path / "marks"))
    del sys.modules["rows_of_the_test"]


InAThread = Callable[[Callable[[], object]], Callable[[], object]]


@pytest.fixture
def in_a_thread() -> InAThread:
    """``in_a_thread(work)()``: what ``work`` returned or raised; fails where it does not end, and leaves it there."""

    def start(work: Callable[[], object]) -> Callable[[], object]:
        results: list[object] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                results.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def result() -> object:
            thread.join(30)
            assert results, "it goes on for ever"
            return results[0]

        return result

    return start


def _built(source: Any, method: str, workers: int, cache: str, store: Path) -> tuple[list[bytes], Canvases]:
    with Decoders(method, workers) as decoders:
        made, bad = build(
            source,
            np.arange(len(source.table().paths)),
            PREPARE,
            cache=cache,
            workers=workers,
            skip_bad=False,
            cache_dir=store,
            decoders=decoders,
        )
        assert bad == {}
        assert decoders._team == [] or cache == "off"
        canvases = [made.get(row) for row in range(len(made.sizes))]
        assert all(canvas.flags.c_contiguous for canvas in canvases)
        assert made.sizes.tolist() == [list(canvas.shape[:2]) for canvas in canvases]
        return [str(canvas.shape).encode() + canvas.tobytes() for canvas in canvases], made


def _cells() -> Iterator[Any]:
    for method in ("thread", "fork", "spawn"):
        for workers in (0, 1, 2, 4):
            for cache in TIERS:
                usual = (method == "fork" and workers in {1, 2}) or (method, workers, cache) == ("spawn", 2, "off")
                yield pytest.param(method, workers, cache, marks=[] if usual else pytest.mark.faults)


@pytest.mark.parametrize(("method", "workers", "cache"), list(_cells()))
def test_every_way_gives_the_same_bytes(
    mixed: FolderSource, store: Path, method: str, workers: int, cache: str
) -> None:
    expected = [PREPARE(mixed.read(row)) for row in range(40)]
    found, made = _built(mixed, method, workers, cache, store)
    assert found == [str(canvas.shape).encode() + canvas.tobytes() for canvas in expected]
    assert made.tier == TIERS[cache]
    processes = workers and method != "thread"
    assert made.decoded_by == (f"{workers} process{'es'[: 2 * (workers > 1)]} ({method})" if processes else "")
    if cache == "disk":
        again, cached = _built(mixed, method, workers, cache, store)
        assert (again, cached.decoded_by) == (found, "")  # nobody is started for what lies there


@pytest.mark.parametrize("method", METHODS)
def test_errors_are_those_of_threads(
    make_tree: Callable[..., Path], picture: Callable[..., bytes], store: Path, method: str
) -> None:
    source = folder(make_tree({"a/ä.png": None, "b/torn.png": picture(1)[:90], "a/gone.png": None, "a/no.png": b"x"}))
    os.unlink(os.path.join(source.root, "a/gone.png"))
    told = {}
    for way in ("thread", method):
        with Decoders(way, 2) as decoders:
            made, bad = build(
                source, np.arange(4), PREPARE, cache="off", workers=2, skip_bad=True, cache_dir=store / way,
                decoders=decoders,
            )  # fmt: skip
            told[way] = [str(refuse(bad, source.table().paths))]
            assert len(bad) == 3
            os.rename(os.path.join(source.root, "a/ä.png"), os.path.join(source.root, "away"))
            with pytest.raises(DataError) as later:
                made.get(source.table().paths.index("a/ä.png"))
            told[way].append(str(later.value))
            os.rename(os.path.join(source.root, "away"), os.path.join(source.root, "a/ä.png"))
    assert told[method] == told["thread"]
    assert "no such file" in told[method][1]


@pytest.mark.parametrize("method", METHODS)
def test_what_a_data_set_raises_is_raised_here(rows: Callable[..., Any], method: str) -> None:
    acts: dict[int, BaseException] = {
        0: OSError(errno.ENOENT, "No such file", "/a/\udcff.png"),
        1: OSError("no number"),
        2: MemoryError("4 GiB"),
        3: PictureError("not a picture: ä"),
        4: ValueError("odd"),
        5: ZeroDivisionError("by nought"),
        6: SystemExit(3),
        7: DataError("what", "where", "remedy"),
        8: KeyboardInterrupt(),
    }
    with Decoders(method, 1) as decoders:
        decode = decoders.start(rows(20, acts), PREPARE)
        found: dict[int, BaseException] = {}
        for row in acts:
            with pytest.raises(BaseException) as caught:
                decode(row)
            found[row] = caught.value
        assert decode(9).ravel().tolist()[0] == 9  # none of it ended the worker
    assert type(found[0]) is FileNotFoundError
    assert (found[0].errno, found[0].strerror, found[0].filename) == (errno.ENOENT, "No such file", "/a/\udcff.png")
    for row in (1, 2, 3, 4, 7):
        assert (type(found[row]), str(found[row])) == (type(acts[row]), str(acts[row]))
    assert [(type(found[row]), str(found[row])) for row in (5, 6, 8)] == [
        (RuntimeError, "ZeroDivisionError: by nought"),
        (RuntimeError, "SystemExit: 3"),
        (RuntimeError, "KeyboardInterrupt: "),
    ]
    assert "in read" in found[4].__notes__[0]


def test_out_of_memory_in_the_last_tier_is_told(rows: Callable[..., Any], store: Path) -> None:
    for method in ("thread", "fork"):
        with Decoders(method, 2) as decoders, pytest.raises(MemoryError):
            build(
                rows(3, {1: MemoryError()}), np.arange(3), PREPARE, cache="off", workers=2, skip_bad=False,
                cache_dir=store, decoders=decoders,
            )  # fmt: skip


def test_every_thread_gets_what_it_asked_for(rows: Callable[..., Any]) -> None:
    wrong: list[Any] = []
    with Decoders("fork", 3) as decoders:
        decode = decoders.start(rows(600), PREPARE)

        def ask(first: int) -> None:
            try:
                wrong.extend(
                    row for row in range(first, 600, 8) if decode(row).tolist() != [[[row % 256, row // 256, 0]]]
                )
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


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


def test_an_exchange_that_was_cut_off_spoils_no_other(
    rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Decoders("fork", 1) as decoders:
        decode = decoders.start(rows(3), PREPARE)
        with monkeypatch.context() as patch:
            patch.setattr("clsfit.data.worker.receive", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                decode(1)
        with pytest.raises(ResourceError, match="killed by signal 9"):
            decode(2)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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

    before = state()
    for end in ("closed", "error"):
        try:
            with Decoders(method, 3) as decoders:
                decode = decoders.start(rows(3), PREPARE)
                assert decode(1).tolist() == [[[1, 0, 0]]] or method == "fork"
                during = state()
                assert len(during[0]) == len(before[0]) + 3
                assert not any("/dev/shm" in name for pid in (os.getpid(), *during[0]) for name in _used_files(pid))
                if end == "error":
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert state() == before
        assert "have been ended" in str(in_a_thread(partial(decode, 1))())  # nor does anybody wait for ever


def _used_files(pid: int) -> list[str]:
    """What a process has open or mapped, where the system tells."""
    place = Path(f"/proc/{pid}")
    if not place.is_dir():
        return []
    return [os.path.realpath(handle) for handle in (place / "fd").iterdir()] + (place / "maps").read_text().split("\n")


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
            left = [worker.channel.fileno() for pool in [decoders] for worker in pool._team]
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


def test_a_data_set_that_cannot_be_sent_is_named(
    mixed: FolderSource, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rows(3, {0: threading.Lock()})
    with Decoders("spawn", 1) as decoders, pytest.raises(PluginError) as caught:
        decoders.start(source, PREPARE)
    assert caught.value.exit_code == 8
    assert "rows_of_the_test.Rows" in caught.value.where
    assert "--start-method thread or fork" in caught.value.remedy
    with Decoders("fork", 1) as decoders:
        assert decoders.start(source, PREPARE)(1)[0, 0, 0] == 1
    only_here = types.ModuleType("only_here")
    vars(only_here)["Here"] = type("Here", (), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with Decoders("spawn", 1) as decoders, pytest.raises(PluginError, match="No module named 'only_here'"):
        decoders.start(vars(only_here)["Here"](), PREPARE)
    assert pickle.loads(pickle.dumps(mixed)).table().paths == mixed.table().paths  # noqa: S301  made here


def test_where_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConfigError, match="cannot fork") as caught:
        Decoders("fork", 0)
    assert caught.value.exit_code == 2
