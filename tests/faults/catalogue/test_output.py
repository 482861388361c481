"""Rows 6, 7, 12, 13 and 14: the output cannot be written, is written already, or belongs to another process."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.storage import checkpoints

pytestmark = pytest.mark.faults

Kept = Callable[[Path], Path]


def newest(run: Path) -> int:
    saved, _ = checkpoints.newest_verified(run / "checkpoints")
    assert saved is not None
    return saved.step


@pytest.mark.parametrize(
    ("at", "action", "reason"),
    [
        ("config:write", "enospc", "no space left"),
        ("checkpoint:write@8", "enospc", "no space left"),
        ("metrics:write@2", "eio", "input/output error"),
        ("model:write@1", "enospc", "no space left"),
        ("checkpoint:fsync@8", "eio", "input/output error"),
        ("checkpoint:sync-parent@3", "eio", "input/output error"),
    ],
)
def test_row06_no_space_and_row07_io_errors(
    fault: Any, data: Path, small: list[str], tmp_path: Path, finished: Path, at: str, action: str, reason: str
) -> None:
    """The k-th write fails: 5 with the file; the last checkpoint is good, and the run ends as if nothing had been."""
    point, _, number = at.partition("@")
    where = f"{point}:{action}" + (f"@{number}" if number else "")
    command = ("train", data, *(option for option in small if option != "-q"), "-o", "run")
    done = fault(5, *command, env={"CLSFIT_FAILPOINT": where}, tells=[reason, "run/"])
    assert ("bytes needed" in done.message and "bytes free" in done.message) == (action == "enospc")
    assert point == "config:write" or newest(tmp_path / "run") >= 0
    assert not (tmp_path / "run" / "summary.json").exists(), "what failed was never called complete"
    fault(0, *command, "--resume")
    assert (tmp_path / "run/last.safetensors").read_bytes() == (finished / "last.safetensors").read_bytes()


def test_row06_a_limit_on_the_size_of_files(fault: Any, data: Path, small: list[str]) -> None:
    """RLIMIT_FSIZE: exit 5, not a death by SIGXFSZ."""
    limits = {resource.RLIMIT_FSIZE: 4096}
    fault(5, "train", data, *small, "-o", "run", limits=limits, tells=["file too large", "ulimit -f", "bytes needed"])
    fault(0, "train", data, *small, "-o", "run", "--resume")


def test_row06_predictions_that_find_no_space_leave_the_old_file(
    fault: Any, data: Path, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text("mine")
    limits = {resource.RLIMIT_FSIZE: 1024}
    fault(5, "predict", run, data, "-o", "p.csv", limits=limits, tells=["file too large", "p.csv", "ulimit -f"])
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "run"]
    fault(5, "predict", run, data, "-o", "/dev/full", tells=["no space left", "/dev/full", "-o"])
    fault(5, "evaluate", run, "--predictions", "/dev/full", tells=["no space left", "/dev/full"])


def test_row06_a_full_standard_output_is_named(data: Path, run: Path, checked: Any, tmp_path: Path) -> None:
    for command in (["predict", run, data], ["evaluate", run, "--json"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "clsfit", *map(str, command)], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path
            )
        checked(type("Done", (), {"code": done.returncode, "out": "", "err": done.stderr.decode(),
                "message": done.stderr.decode()})(), 5, ["No space left", "standard output"])  # fmt: skip


@pytest.mark.parametrize("output", ["/dev/null", "/dev/stdout", "pipe"])
def test_row06_devices_and_pipes_are_written_to_and_stay(
    fault: Any, data: Path, run: Path, tmp_path: Path, output: str
) -> None:
    reader = None
    if output == "pipe":
        os.mkfifo(tmp_path / "pipe")
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    before = os.lstat(tmp_path / output)
    done = fault(0, "predict", run, data, "-o", output)
    after = os.lstat(tmp_path / output)
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
    got = reader.communicate(timeout=60)[0].decode() if reader is not None else done.out
    assert len(got.splitlines()) == (0 if output == "/dev/null" else 65)


def test_row06_standard_output_that_is_a_file_is_written_on(data: Path, run: Path, tmp_path: Path) -> None:
    """As by ``>>``: what stands there stays, and what follows stands behind it."""
    with open(tmp_path / "all.csv", "ab") as file:
        os.write(file.fileno(), b"before\n")
        command = [sys.executable, "-m", "clsfit", "predict", run, data, "-o", "/dev/stdout"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, cwd=tmp_path, timeout=240)
        os.write(file.fileno(), b"after\n")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert (lines[0], len(lines), lines[-1]) == ("before", 67, "after")


def test_row06_a_link_to_a_device_elsewhere_is_still_refused(fault: Any, data: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("/dev/null")
    fault(5, "predict", run, data, "-o", "link.csv", tells=["symbolic link", "link.csv", "name the file itself"])


def test_row12_a_finished_run_is_left_alone(fault: Any, data: Path, small: list[str], run: Path, kept: Kept) -> None:
    kept(run)
    command = [option for option in small if option != "-q"]
    assert "complete, nothing to do" in fault(0, "train", data, *command, "-o", run, "--resume").err
    fault(2, "train", data, *small, "-o", run, tells=["run", "--resume", "--overwrite"])


def test_row13_the_second_of_two_writers_is_told_who_the_first_is(
    fault: Any, data: Path, small: list[str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "clsfit", "train", data, *small, "-o", "run"],
        env=os.environ | {"CLSFIT_FAILPOINT": "checkpoint:rename:stop@3", "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        for more in ([], ["--resume"]):
            code = 5 if more else 2
            said = [f"process {process.pid} is writing this run", "run", "wait"] if more else ["--resume"]
            fault(code, "train", data, *small, "-o", "run", *more, tells=said)
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        assert process.stderr is not None
        process.stderr.close()
    fault(0, "train", data, *small, "-o", "run", "--resume")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("file", "a file is in the way"),
        ("file/below", "a file is in the way"),
        ("dangling", "a file is in the way"),
        ("/dev/null", "a file is in the way"),
        ("/proc/run", ""),
        ("x" * 300, "too long"),
        ("locked/run", "ermission denied"),
    ],
)
def test_row14_an_output_that_cannot_be(
    fault: Any, data: Path, tmp_path: Path, kept: Kept, output: str, reason: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "locked").mkdir(mode=0o555)
    kept(tmp_path)
    named = output if output.startswith("/") else output.partition("/")[0]
    fault(
        5,
        "train",
        data,
        "--epochs",
        "1",
        "-o",
        output,
        ordinary=output.startswith("locked"),
        tells=[reason, named[:100]],
    )


@pytest.mark.parametrize(
    ("output", "code", "told"),
    [
        ("nodir/p.csv", 2, ["nodir does not exist", "-o nodir/p.csv"]),
        ("file/p.csv", 2, ["file is a file", "-o file/p.csv"]),
        ("run", 2, ["run is a folder", "-o run"]),
        ("p.xlsx", 2, [".xlsx", ".csv or .jsonl"]),
        ("locked/p.csv", 5, ["may not be written", "-o locked/p.csv", "rights"]),
        ("/proc/p.csv", 5, ["/proc/p.csv"]),
    ],
)
def test_row14_predictions_that_cannot_be_written(
    fault: Any, data: Path, run: Path, tmp_path: Path, output: str, code: int, told: list[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "locked").mkdir(mode=0o555)
    fault(code, "predict", run, data, "-o", output, ordinary=output.startswith("locked"), tells=told)


def test_row14_a_finished_training_is_not_lost_with_its_standard_output(
    data: Path, small: list[str], tmp_path: Path, finished: Path
) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "clsfit", "train", str(data), *small, "-o", "run"]
        assert subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path).returncode == 5
    digest = [
        hashlib.sha256((path / "last.safetensors").read_bytes()).digest() for path in (tmp_path / "run", finished)
    ]
    assert digest[0] == digest[1]
    assert (tmp_path / "run" / "summary.json").exists()
