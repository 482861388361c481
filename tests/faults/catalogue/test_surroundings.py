"""Rows 21, 22 and 39: handles, memory, streams, terminals, languages, homes, networks and clocks."""

from __future__ import annotations

import os
import pty
import re
import resource
import shlex
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

Kept = Callable[[Path], Path]

pytestmark = pytest.mark.faults


def same(run: Path, finished: Path) -> bool:
    return (run / "last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()


def test_row21_few_handles(
    fault: Any, data: Path, small: list[str], finished: Path, tmp_path: Path, png: Any, kept: Kept
) -> None:
    """64 handles for a command over 300 files: none is left open."""
    limits = {resource.RLIMIT_NOFILE: 64}
    for cache in ("off", "disk"):
        fault(0, "train", data, *small, "-o", cache, "--cache", cache, "--workers", "4", limits=limits)
        assert same(tmp_path / cache, finished)
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number}.png").write_bytes(png(number % 7) if number % 3 else b"broken")
    kept(tmp_path / "many")
    fault(3, "predict", finished, "many", "-o", "p.csv", limits=limits, tells=["100 of the pictures could not be read"])
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 301


def test_row21_too_few_handles_are_5(fault: Any, data: Path, small: list[str]) -> None:
    """Too few for a run's own files: what the system says, and what to do; no traceback."""
    limits = {resource.RLIMIT_NOFILE: 6}
    fault(5, "train", data, *small, "-o", "out", limits=limits, tells=["oo many open files", "ulimit -n"])


def test_row22_no_room_for_a_library_and_for_a_model(fault: Any, data: Path, run: Path, tmp_path: Path) -> None:
    """500 MB do not hold torch; 8 GB hold torch, but not eight more."""
    limits = {resource.RLIMIT_AS: 500 << 20}
    fault(5, "predict", run, data, limits=limits, tells=["out of memory", "library", "ulimit -v"])
    fault(5, "train", data, "-o", "out", limits=limits, tells=["out of memory", "ulimit -v"])
    huge = ("--model", "mlp", "--model.hidden", "45000,45000")
    limits = {resource.RLIMIT_AS: 8 << 30}
    told = ["out of memory", "8100000000 bytes were asked for", "--batch-size", "smaller model"]
    fault(5, "train", data, *huge, "-o", "out", limits=limits, tells=told)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "| head -c 1 | wc -c"])
def test_row39_closed_streams(data: Path, run: Path, tmp_path: Path, kept: Kept, closed: str) -> None:
    kept(run)
    command = shlex.join([sys.executable, "-m", "clsfit", "predict", str(run), str(data)])
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} {closed}"], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


def test_row39_training_without_streams_and_below_a_pipe_that_closes(
    data: Path, small: list[str], tmp_path: Path, finished: Path
) -> None:
    options = [option for option in small if option != "-q"]
    for name, closed in (("none", "<&- >&- 2>&-"), ("pipe", "2>&1 | head -c 1")):
        command = shlex.join([sys.executable, "-m", "clsfit", "train", str(data), *options, "-o", name])
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{command} {closed}"], capture_output=True, cwd=tmp_path
        )
        assert b"Traceback" not in done.stdout + done.stderr
        assert same(tmp_path / name, finished), f"training ended with its reader: {done.returncode}"


def test_row39_a_terminal_gets_a_bar_and_is_left_clean(
    data: Path, small: list[str], tmp_path: Path, finished: Path
) -> None:
    options = [option for option in small if option != "-q"]
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clsfit", "train", str(data), *options, "-o", "out"],
        stdout=child, stderr=child, cwd=tmp_path, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(child)
    said = b""
    while True:
        try:
            said += os.read(parent, 65536)
        except OSError:  # the terminal has gone with its last user
            break
    os.close(parent)
    assert process.wait(60) == 0, said
    assert b"finished: all epochs done" in said
    assert same(tmp_path / "out", finished)


def test_row39_ctrl_c_at_a_terminal_is_answered_and_leaves_it_clean(
    data: Path, small: list[str], tmp_path: Path
) -> None:
    """The terminal shows ``^C`` where its cursor is: at the end of a bar, that would be on a new line."""
    options = [option for option in small if option != "-q"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        termios.tcsetwinsize(0, (24, 100))
        command = ["-m", "clsfit", "train", str(data), *options, "-o", "out", "--epochs", "1000"]
        os.execve(sys.executable, [sys.executable, *command], os.environ | {"TERM": "xterm"})
    said = b""
    while b"step/s]" not in said and b"epoch    9" not in said:
        said += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    with suppress(OSError):  # the terminal has gone with its last user
        while piece := os.read(terminal, 65536):
            said += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130, said
    assert said.count(b"stopping after this step, then saving; Ctrl-C again leaves at once") == 1
    assert b"saved at step" in said
    drawn = re.findall(rb"(?:step|batch)/s\](.)", said, re.DOTALL)
    assert set(drawn) == {b"\r"}, said


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/nonexistent", "CLSFIT_CACHE": None, "XDG_CACHE_HOME": None},
        {"HOME": "/proc", "CLSFIT_CACHE": "/proc/cache", "XDG_CACHE_HOME": "/proc"},
        {"HOME": None, "CLSFIT_CACHE": None, "USER": None, "LOGNAME": None, "PATH": "/nonexistent", "TERM": None},
        {"TZ": "nowhere/at all", "COLUMNS": "0", "TMPDIR": "/nonexistent"},
    ],
    ids=["poor locale", "missing home", "home that cannot be written", "empty environment", "odd variables"],
)
def test_row39_odd_surroundings(
    fault: Any, data: Path, small: list[str], finished: Path, tmp_path: Path, env: dict[str, str | None]
) -> None:
    top = tmp_path / "dätä 漢"
    top.symlink_to(data)
    fault(0, "train", top, *small, "-o", "rün", "--cache", "disk", env=env)
    assert same(tmp_path / "rün", finished)
    assert len(fault(0, "predict", "rün", top, env=env).out.splitlines()) == 65


BROKEN = """
import socket, time

class NoNetwork(socket.socket):
    def connect(self, address):
        raise OSError(101, "Network is unreachable")

def resolve(*arguments, **options):
    raise socket.gaierror(-3, "Temporary failure in name resolution")

socket.socket, socket.getaddrinfo = NoNetwork, resolve
plain, moment = time.time, [0]

def backwards():
    moment[0] += 3600
    return plain() - moment[0]

time.time = backwards
"""


@pytest.fixture
def broken_python(tmp_path: Path) -> dict[str, str]:
    """The environment of an interpreter without a network, whose clock goes back an hour at each look."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(BROKEN)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])}


def test_row39_a_clock_that_goes_back_and_files_of_the_future(
    fault: Any,
    mutable: Path,
    small: list[str],
    finished: Path,
    tmp_path: Path,
    broken_python: dict[str, str],
    kept: Kept,
) -> None:
    for number, path in enumerate(sorted(mutable.rglob("*.png"))):
        os.utime(path, (4_000_000_000 + number, (-5, 0, 4_000_000_000)[number % 3]))
    kept(mutable)
    for name in ("first", "second"):  # the second one finds the cache of the first
        fault(0, "train", mutable, *small, "-o", name, "--cache", "disk", env=broken_python)
        assert same(tmp_path / name, finished)
    fault(0, "train", mutable, "--model", "mlp", "--epochs", "2", "-q", "-o", "timed", env=broken_python)


def test_row39_no_network(
    fault: Any, data: Path, finished: Path, tmp_path: Path, broken_python: dict[str, str]
) -> None:
    """What lies here needs none; weights that are to be downloaded are 5, and say what else can be done."""
    env = broken_python | {"TORCH_HOME": str(tmp_path / "torch"), "HOME": str(tmp_path)}
    fault(0, "predict", finished, data, env=env)
    command = ("train", data, "--model", "resnet18", "--model.weights", "default", "--epochs", "1", "-o", "out")
    fault(5, *command, env=env, tells=["--model.weights"])
    assert not (tmp_path / "out").exists()
