"""Real processes, really killed: the same command with --resume ends with the uninterrupted run's weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

EPOCHS = 30


def command(pictures: Path, output: Path) -> list[str]:
    options = "--model small_cnn --model.width 8 --model.dropout 0.2 --augment hflip --augment crop --loss focal"
    run = f"--epochs {EPOCHS} --batch-size 4 --threads 1 --callback.checkpoint.every_steps 7 --resume -q"
    return [sys.executable, "-m", "clsfit", "train", str(pictures), "-o", str(output), *options.split(), *run.split()]


def started(pictures: Path, output: Path, rows: int) -> subprocess.Popen[str]:
    """A run that has finished ``rows`` epochs."""
    process = subprocess.Popen(command(pictures, output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = output / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= rows):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def uninterrupted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("signals") / "whole"
    subprocess.run(
        command(pictures, output), check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return (output / "last.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_leaves(
    uninterrupted: bytes, pictures: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output = tmp_path / "run"
    process = started(pictures, output, rows=2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "--resume" in errors
    assert len(errors.strip().splitlines()) <= 3
    subprocess.run(command(pictures, output), check=True, capture_output=True)
    assert (output / "last.safetensors").read_bytes() == uninterrupted


def test_sigkill_at_random_instants(uninterrupted: bytes, pictures: Path, tmp_path: Path) -> None:
    chance, output = random.Random(20261121), tmp_path / "run"
    kills = 0
    while kills < 3:
        process: Any = started(pictures, output, rows=1 + 4 * kills)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate()
        kills += 1
    subprocess.run(command(pictures, output), check=True, capture_output=True)
    assert (output / "last.safetensors").read_bytes() == uninterrupted
    assert (output / "metrics.jsonl").read_text().count("\n") == EPOCHS
