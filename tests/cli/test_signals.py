"""Signals before a run takes them over: SIGTERM ends the command in order, SIGUSR1 does nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

WAITS = """
import signal, sys
import clsfit.training
from clsfit.cli import main

def wait(*args, **more):
    print("ready", flush=True)
    signal.pause()
    signal.pause()

clsfit.training.take_in_wanted = wait
sys.exit(main(["train", "digits", "-o", "run"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_run(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)  # a batch system's warning: there is nothing to save yet
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert 1 <= len(errors.strip().splitlines()) <= 3
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()
