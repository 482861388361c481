from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsfit.errors import ResourceError
from clsfit.storage.rundir import RunDirectory

HOLD = """
import os, subprocess, sys
from clsfit.storage.rundir import RunDirectory
directory = RunDirectory(sys.argv[1]).lock()
if sys.argv[2] == "program":
    print(subprocess.Popen(["sleep", "600"], close_fds=False).pid, flush=True)
elif sys.argv[2] == "alone" or os.fork() == 0:
    print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owners() -> Iterator[list[tuple[subprocess.Popen[str], int]]]:
    started: list[tuple[subprocess.Popen[str], int]] = []
    yield started
    for process, child in started:
        process.kill()
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.stdout.close()
        process.wait()
        if child != process.pid:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("child", ["alone", "fork", "program"])
def test_the_lock_lives_as_long_as_its_owner_and_no_longer(
    tmp_path: Path, owners: list[tuple[subprocess.Popen[str], int]], child: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run"), child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    owners.append((process, int(process.stdout.readline())))
    with pytest.raises(ResourceError) as error:
        RunDirectory(tmp_path / "run").lock()
    assert f"process {process.pid} is writing this run already" in str(error.value)
    assert error.value.exit_code == 5
    process.send_signal(signal.SIGKILL)
    process.wait()
    if child != "alone":
        os.kill(owners[0][1], 0)  # the child lives on
    with RunDirectory(tmp_path / "run").lock():
        assert (tmp_path / "run" / ".lock").read_text() == f"{os.getpid()}\n"


def test_one_writer_within_a_process_too(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).lock(), pytest.raises(ResourceError, match="this process"):
        RunDirectory(tmp_path).lock()
    RunDirectory(tmp_path).lock().close()


def test_a_lost_reference_does_not_let_others_in(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path).lock()
    del directory
    with pytest.raises(ResourceError, match="this process"):
        RunDirectory(tmp_path).lock()


def test_the_handle_is_closed_on_release(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for _ in range(3):
        RunDirectory(tmp_path).lock().close()
        with RunDirectory(tmp_path).lock(), pytest.raises(ResourceError):
            RunDirectory(tmp_path).lock()
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)


def test_a_stale_lock_file_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("1\n")
    with RunDirectory(tmp_path).lock():
        assert (tmp_path / ".lock").read_text().strip() == str(os.getpid())


def test_storage_can_be_imported_without_file_locks(python, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    script = """
import sys
sys.modules["fcntl"] = None
from clsfit.errors import ResourceError
from clsfit.storage import checkpoints, modelfile
from clsfit.storage.rundir import RunDirectory
try:
    RunDirectory(sys.argv[1]).lock()
except ResourceError as error:
    print(error.what)
"""
    done = python(script, tmp_path)
    assert done.stdout == "run directories need file locks, which this system does not have\n", done.stderr


def test_storage_never_imports_torch(python) -> None:  # type: ignore[no-untyped-def]
    script = """
import sys
from clsfit.storage import checkpoints, durable, modelfile, rundir
print(sorted({"torch", "numpy", "safetensors", "yaml"} & set(sys.modules)))
"""
    assert python(script).stdout == "[]\n"
