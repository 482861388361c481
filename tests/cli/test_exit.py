"""How ``main`` ends for whatever a job raises."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit import errors
from clsfit.cli import app

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.ConfigError("what", "where", "remedy"), 2, "clsfit: error: what\n  where\n  remedy\n"),
        (errors.DataError("what", "", "remedy"), 3, "clsfit: error: what\n  remedy\n"),
        (errors.CheckpointError("what"), 4, "clsfit: error: what\n"),
        (errors.ResourceError("what"), 5, "clsfit: error: what\n"),
        (errors.DivergedError("what"), 6, "clsfit: error: what\n"),
        (errors.PluginError("what"), 8, "clsfit: error: what\n"),
        (errors.TargetMissedError("what"), 9, "clsfit: error: what\n"),
        (errors.InterruptedRunError("what"), 130, "clsfit: error: what\n"),
        (errors.TerminatedRunError("what"), 143, "clsfit: error: what\n"),
        (errors.DataError("a\nb\nc\nd", "e\nf", "g"), 3, "clsfit: error: a b c d\n  e f\n  g\n"),
        (KeyboardInterrupt(), 130, "clsfit: interrupted\n"),
        (MemoryError(), 5, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.csv"), 5, "No space left on device\n  x.csv\n"),
        (PermissionError(errno.EACCES, "Permission denied", b"x"), 5, "Permission denied\n  x\n"),
        (OSError(errno.ENOTTY, "odd"), 1, "bug in clsfit: OSError"),
        (ZeroDivisionError("division\nby zero"), 1, "bug in clsfit: ZeroDivisionError: division by zero\n  --debug"),
        (SystemExit(0), 1, "bug in clsfit"),
        (SystemExit(3), 1, "sys.exit(3)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_failure_has_a_code_and_few_lines(
    error: BaseException, code: int, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job() -> None:
        raise error

    monkeypatch.setattr(app, "parse", lambda arguments: job)
    done = run("anything", code=code)
    assert said in done.err
    assert len(done.err.splitlines()) <= 3
    assert done.out == ""


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "clsfit", "plugins", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before a line was written
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert said == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_stdout(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clsfit", "plugins", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            timeout=60,
        )
    assert done.returncode == 5
    assert "No space left" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_an_empty_one(closed: str, tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m clsfit plugins list {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=tmp_path, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    assert (done.stdout == "") == (">&- " in f"{closed} " and closed != "2>&-")


def test_typer_does_not_keep_the_exception_hook(run: Run) -> None:
    before = sys.excepthook
    run("--version")
    assert sys.excepthook is before


RANKS = """
import atexit, sys
import clsfit.distributed.meeting as meeting
meeting.Meeting.__init__.__defaults__ = (0.5,)  # seconds to wait for the others
"""


def test_a_rank_ends_without_the_interpreter_s_end(tmp_path: Path) -> None:
    """torch's threads may wait for a rank that is gone: there the interpreter's end can abort the process."""
    ends = "atexit.register(print, 'late'); from clsfit.__main__ import start; sys.exit(start())"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    alone = {"WORLD_SIZE": "1"}
    for program, env, code, late in ((RANKS + ends, ranks, 7, False), ("import atexit, sys\n" + ends, alone, 0, True)):
        words = [sys.executable, "-c", program, "train", "digits", "--model", "mlp", "--epochs", "1", "-o", "run"]
        done = subprocess.run(words, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert ("late" in done.stdout) is late
