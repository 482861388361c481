"""Ctrl-C, SIGTERM and SIGUSR1 at random instants: the run is saved, leaves or goes on, and ends as if undisturbed.

Ctrl-C reaches every process of the terminal's group, so it is sent to the group.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.storage import checkpoints, modelfile

BASE = "--model small_cnn --model.width 8 --model.dropout 0.2 --augment hflip --batch-size 4 --epochs 30"
KINDS = {
    "often saved": f"{BASE} --callback.checkpoint.every_steps 7",
    "no checkpoint callback": f"{BASE} --callback none",
    "mostly validation": f"{BASE} --val-fraction 0.85 --epochs 80",
    "with workers": f"{BASE} --workers 2",
}
RARELY_SAVED = f"{BASE} --callback.checkpoint.every_seconds 86400"
STALLING = f"{BASE} --loss stalling --callback.checkpoint.every_steps 5"
LEAVES_IN = 15  # seconds; promised: a step and 10 s
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

Start = Callable[..., subprocess.Popen[str]]


def cases() -> list[Any]:
    """Ten: each kind by each signal, and two while the process is still starting; two of them by default."""
    made = [(kind, number, False) for kind in KINDS for number in CODES]
    made += [("often saved", number, True) for number in CODES]
    quick = {("often saved", signal.SIGTERM, False), ("no checkpoint callback", signal.SIGINT, False)}
    return [
        pytest.param(
            *case,
            marks=() if case in quick else pytest.mark.faults,
            id=f"{case[0]}-{case[1].name}{'-starting' if case[2] else ''}".replace(" ", "_"),
        )
        for case in made
    ]


@pytest.mark.parametrize(("kind", "number", "starting"), cases())
def test_a_signal_saves_and_leaves(
    kind: str,
    number: signal.Signals,
    starting: bool,
    seed: int,
    chance: random.Random,
    command: Callable[..., list[str]],
    start: Start,
    until: Callable[..., bool],
    rows: Callable[[Path], int],
    outcome: Callable[[Path], Any],
    uninterrupted: Callable[[str], Path],
    complete: Callable[..., Any],
    tmp_path: Path,
) -> None:
    expected, output = outcome(uninterrupted(KINDS[kind])), tmp_path / "run"
    process = start(command(output, KINDS[kind]))
    if starting:
        time.sleep(chance.uniform(0.3, 1))
    else:
        wanted = chance.randint(1, 8)
        assert until(lambda: rows(output) >= wanted, process), process.communicate()
        time.sleep(chance.uniform(0, 0.05))
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=LEAVES_IN)
    codes = {CODES[number]} | ({-number} if starting else set())  # before Python listens, the system ends it
    assert process.returncode in codes, (seed, errors)
    assert len(errors.strip().splitlines()) <= 3, errors
    if not starting:
        assert "--resume" in errors, errors
        found, skipped = checkpoints.newest_verified(output / "checkpoints")
        assert found is not None
        assert found.step > 0, seed
        assert skipped == []
    complete(command(output, KINDS[kind]))
    assert outcome(output) == expected, seed


@pytest.mark.faults
def test_a_second_ctrl_c_leaves_at_once_without_a_torn_file(
    command: Callable[..., list[str]],
    start: Start,
    until: Callable[..., bool],
    outcome: Callable[[Path], Any],
    uninterrupted: Callable[[str], Path],
    complete: Callable[..., Any],
    tmp_path: Path,
) -> None:
    expected, output, mark = outcome(uninterrupted(STALLING)), tmp_path / "run", tmp_path / "mark"
    process = start(command(output, STALLING), STALL=str(mark))
    assert until(mark.exists, process), process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # the first one waits for the step, which takes minutes
        process.wait(timeout=2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LEAVES_IN)
    assert process.returncode == 130, errors
    assert len(errors.strip().splitlines()) <= 3, errors
    found, skipped = checkpoints.newest_verified(output / "checkpoints")
    assert found is not None
    assert skipped == []
    for path in output.glob("*.safetensors"):
        modelfile.read(path)
    complete(command(output, STALLING), STALL=str(mark))
    assert outcome(output) == expected


@pytest.mark.faults
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_is_sent_twice_is_one(
    command: Callable[..., list[str]],
    start: Start,
    until: Callable[..., bool],
    uninterrupted: Callable[[str], Path],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """As ``timeout`` does it: to the process, and to its group."""
    output, mark = tmp_path / "run", tmp_path / "mark"
    process = start(command(output, STALLING), STALL=str(mark), STALL_SIZE="1500")
    assert until(mark.exists, process), process.communicate()
    process.send_signal(number)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=LEAVES_IN + 60)
    assert process.returncode == code, errors
    assert "saved at step" in errors


@pytest.mark.faults
def test_sigusr1_saves_and_goes_on(
    command: Callable[..., list[str]],
    start: Start,
    until: Callable[..., bool],
    rows: Callable[[Path], int],
    outcome: Callable[[Path], Any],
    uninterrupted: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    whole, output = uninterrupted(RARELY_SAVED), tmp_path / "run"
    process = start([word for word in command(output, RARELY_SAVED) if word != "-q"])
    assert until(lambda: rows(output) >= 3, process), process.communicate()
    os.kill(process.pid, signal.SIGUSR1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert outcome(output) == outcome(whole)
    (told,) = [line for line in errors.splitlines() if line.startswith("checkpoint of step")]
    assert f"step-{int(told.split()[3]):08}" in steps(output), told
    assert steps(output) - steps(whole), "no checkpoint but those of the beginning and the end"


def steps(output: Path) -> set[str]:
    return {path.name for path in (output / "checkpoints").glob("step-*")}
