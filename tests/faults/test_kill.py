"""SIGKILL at random instants, half of them inside a save: the resumed run ends with the uninterrupted weights.

A kill that finds no living process is not counted. ``CLSFIT_TEST_SEED=N`` repeats a failed test's draws; the
instants themselves depend on the machine as well.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPTIONS = (
    "--model small_cnn --model.width 8 --model.dropout 0.2 --optimizer adamw --augment hflip --augment crop "
    "--metric f1 --callback accumulate --callback.accumulate.steps 2 "
    "--callback early_stop --callback.early_stop.patience 1000 "
    "--epochs 40 --batch-size 4 --callback.checkpoint.every_steps 3"
)
_SAVING = re.compile(r"\.tmp-[0-9]{8,}-.*|\.old-.*")


@pytest.mark.parametrize(
    "kills",
    [
        5,
        pytest.param(20, marks=[pytest.mark.faults, pytest.mark.first]),
        pytest.param(500, marks=[pytest.mark.faults, pytest.mark.slow]),  # half an hour and more
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(
    kills: int,
    seed: int,
    chance: random.Random,
    command: Callable[..., list[str]],
    start: Callable[..., subprocess.Popen[str]],
    until: Callable[..., bool],
    rows: Callable[[Path], int],
    outcome: Callable[[Path], Any],
    uninterrupted: Callable[[str], Path],
    complete: Callable[..., Any],
    tmp_path: Path,
) -> None:
    expected = outcome(uninterrupted(OPTIONS))
    done, inside, finished = 0, 0, 0
    output = tmp_path / "run-0"
    while done < kills:
        process = start(command(output, OPTIONS))
        wait_for_save(process, output, chance) if done % 2 else wait_for_rows(process, output, chance, until, rows)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            done += 1
            inside += any(map(_SAVING.fullmatch, listed(output)))
            continue
        assert process.returncode == 0, (seed, done, errors)
        assert outcome(output) == expected, (seed, done)
        finished += 1
        output = tmp_path / f"run-{finished}"
    complete(command(output, OPTIONS))
    assert outcome(output) == expected, (seed, done)
    print(f"\n{done} kills with seed {seed}: {inside} inside a save, {finished + 1} runs")
    assert inside or kills < 20, "no kill hit a save: the aim is lost"


def wait_for_rows(
    process: subprocess.Popen[str],
    output: Path,
    chance: random.Random,
    until: Callable[..., bool],
    rows: Callable[[Path], int],
) -> None:
    """Until the run has finished some more epochs, and then any time."""
    wanted = rows(output) + chance.randint(0, 12)
    if until(lambda: rows(output) > wanted, process):
        time.sleep(chance.uniform(0, 0.1))


def wait_for_save(process: subprocess.Popen[str], output: Path, chance: random.Random) -> None:
    """Until a save begins, and then up to 3 ms; polled without a pause, as a save takes a few ms."""
    coming, before = chance.randint(1, 25), frozenset(listed(output))
    while process.poll() is None:
        now = frozenset(filter(_SAVING.fullmatch, listed(output)))
        coming -= bool(now - before)
        if not coming:
            break
        before = now
    end = time.perf_counter() + chance.uniform(0, 0.003)
    while time.perf_counter() < end:
        pass


def listed(output: Path) -> list[str]:
    try:
        return os.listdir(output / "checkpoints")
    except FileNotFoundError:
        return []
