"""Rows 4, 11 and 37 with ranks: signals, kills, another number of them, torchrun, and how many pictures they count.

The names and the bytes of what a run leaves are compared with those of an undisturbed run of as many ranks.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.storage import checkpoints

TEXT = (
    "--model small_cnn --model.width 8 --model.dropout 0.2 --augment hflip --batch-size 8 --epochs 20 "
    "--callback.checkpoint.every_steps 7"
)
OPTIONS = [*TEXT.split(), "--threads", "1", "--resume", "-q"]
LEAVES_IN = 15  # seconds; promised: a step and 10 s

Started = Callable[..., Any]
Undisturbed = Callable[[int], Any]


@pytest.fixture
def start_ranks(ranks: Started, small_set: Path) -> Started:
    """``start_ranks(2, output)`` begins or goes on with a run there; the command of all these tests."""

    def begin(number: int, output: Path, *more: Any, **options: Any) -> Any:
        return ranks(number, "train", small_set, *OPTIONS, "-o", output, *more, **options)

    return begin


@pytest.fixture(scope="session")
def whole_runs() -> dict[int, Any]:
    """Outcomes by number of ranks, as far as they have been asked for."""
    return {}


@pytest.fixture
def undisturbed(
    start_ranks: Started, outcome: Callable[[Path], Any], whole_runs: dict[int, Any], tmp_path: Path
) -> Undisturbed:
    """``undisturbed(2)``: the outcome of as many ranks that nobody disturbs."""

    def run(number: int) -> Any:
        if number not in whole_runs:
            team = start_ranks(number, tmp_path / "whole")
            assert set(team.codes(within=240)) == {0}, team.said
            whole_runs[number] = outcome(tmp_path / "whole")
        return whole_runs[number]

    return run


@pytest.fixture
def until_rows(rows: Callable[[Path], int]) -> Callable[..., bool]:
    """``until_rows(team, output, 3)`` waits for as many epochs; False where the run has ended before."""

    def wait(team: Any, output: Path, wanted: int) -> bool:
        deadline = time.monotonic() + 120
        while rows(output) < wanted:
            if all(process.poll() is not None for process in team.processes):
                return False
            assert time.monotonic() < deadline, team.said
            time.sleep(0.001)
        return True

    return wait


@pytest.mark.parametrize(
    ("number", "told", "sent"),
    [
        (2, [1], signal.SIGTERM),
        pytest.param(2, [0], signal.SIGTERM, marks=pytest.mark.faults),
        pytest.param(2, [0, 1], signal.SIGINT, marks=pytest.mark.faults),
        pytest.param(3, [2], signal.SIGINT, marks=pytest.mark.faults),
    ],
)
def test_a_signal_to_any_rank_saves_and_ends_all(
    number: int,
    told: list[int],
    sent: signal.Signals,
    chance: random.Random,
    start_ranks: Started,
    undisturbed: Undisturbed,
    until_rows: Callable[..., bool],
    outcome: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    """Row 4: SIGTERM to one rank only, and Ctrl-C, which a terminal sends to all of them."""
    expected, output = undisturbed(number), tmp_path / "run"
    team = start_ranks(number, output)
    assert until_rows(team, output, chance.randint(1, 6)), team.said
    for rank in told:
        team.processes[rank].send_signal(sent)
    assert set(team.codes(LEAVES_IN)) == {130 if sent == signal.SIGINT else 143}, team.said
    lines = team.said.splitlines()
    found, skipped = checkpoints.newest_verified(output / "checkpoints")
    assert found is not None
    assert skipped == []
    assert len(lines) <= 3, team.said  # rank 0 says it for all
    assert f"saved at step {found.step} in" in team.said
    assert "--resume" in team.said
    again = start_ranks(number, output)
    assert set(again.codes(within=240)) == {0}, again.said
    assert outcome(output) == expected


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.faults)])
def test_sigusr1_to_any_rank_saves_once_and_all_go_on(
    rank: int, start_ranks: Started, until_rows: Callable[..., bool], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    team = start_ranks(2, output, "--callback.checkpoint.every_steps", "100000")
    assert until_rows(team, output, 2), team.said
    team.processes[rank].send_signal(signal.SIGUSR1)
    assert team.codes(within=240) == [0, 0], team.said
    saves = [int(step) for step in re.findall(r"checkpoint of step (\d+) saved", (output / "log.txt").read_text())]
    assert len(saves) == 3, saves  # at the start, when told, and at the end
    assert saves[0] == 0 < saves[1] < saves[2]


@pytest.mark.faults
@pytest.mark.parametrize(("number", "kills"), [(2, 1), (3, 3)], ids=["two", "three"])
def test_ranks_that_are_all_killed_end_as_if_nothing_had_happened(
    number: int,
    kills: int,
    seed: int,
    chance: random.Random,
    start_ranks: Started,
    undisturbed: Undisturbed,
    until_rows: Callable[..., bool],
    rows: Callable[[Path], int],
    outcome: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    """Row 11: SIGKILL at a random instant, then the same command with as many ranks."""
    expected, output, done = undisturbed(number), tmp_path / "run", 0
    while done < kills:
        team = start_ranks(number, output)
        until_rows(team, output, rows(output) + chance.randint(1, 5))
        time.sleep(chance.uniform(0, 0.05))
        for process in chance.sample(team.processes, number):
            process.kill()
        codes = team.codes()
        if set(codes) == {0}:  # it was too late
            break
        done += 1
    assert done, "no kill came in time"
    again = start_ranks(number, output)
    assert set(again.codes(within=240)) == {0}, again.said
    assert outcome(output) == expected, seed


@pytest.mark.faults
def test_another_number_of_ranks_is_another_run(
    start_ranks: Started,
    until_rows: Callable[..., bool],
    complete: Callable[..., Any],
    command: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    """Row 11: refused with both numbers; a user may accept it, with fewer ranks and with more."""
    output = tmp_path / "run"
    team = start_ranks(2, output)
    assert until_rows(team, output, 2), team.said
    team.processes[1].send_signal(signal.SIGTERM)
    assert team.codes(LEAVES_IN) == [143, 143]
    more = start_ranks(3, output)
    assert more.codes() == [4, 4, 4]
    assert "ranks: 2 -> 3" in more.said
    assert "--accept-changes" in more.said
    words = command(output, TEXT)
    assert "ranks: 2 -> 1" in complete(words, 4).stderr
    copy = shutil.copytree(output, tmp_path / "copy")
    accepted = start_ranks(3, copy, "--accept-changes")
    assert accepted.codes(within=120) == [0, 0, 0], accepted.said
    assert json.loads((copy / "environment.json").read_text())["ranks"] == 3
    complete([*words, "--accept-changes"])
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 20


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "pictures"),
    [(2, 1), (2, 17), (3, 13), (4, 7), (4, 40)],
)
def test_ranks_judge_every_validation_picture_once(
    number: int,
    pictures: int,
    ranks: Started,
    complete: Callable[..., Any],
    drawn: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Row 37: fewer batches than ranks, a last one that is short; to the bit what one process finds."""
    top, batches = tmp_path / "data", ["--batch-size", "8"]
    drawn(top / "train", {"bars": 10, "dots": 10}, size=8)
    drawn(top / "val", {"bars": (pictures + 1) // 2, "dots": pictures // 2}, size=8)
    options = ["--model", "mlp", "--model.hidden", "8", "--threads", "1", "--epochs", "1", "-q"]
    team = ranks(number, "train", top, *options, *batches, "-o", "run")
    assert set(team.codes()) == {0}, team.said
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    model = str(tmp_path / "run" / "last.safetensors")
    words = [sys.executable, "-m", "clsfit", "evaluate", model, str(top), "--split", "val", "--json"]
    said = json.loads(complete([*words, *batches]).stdout)
    for name in ("loss", "accuracy", "f1"):
        assert row[f"val/{name}"] == said[name]


@pytest.mark.faults
def test_torchrun_starts_ends_and_resumes_a_run(
    surroundings: dict[str, str],
    small_set: Path,
    start: Started,
    until: Callable[..., bool],
    rows: Callable[[Path], int],
    outcome: Callable[[Path], Any],
    undisturbed: Undisturbed,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    """It sends SIGTERM on to its ranks, and ends with a code of its own."""
    expected, output = undisturbed(2), tmp_path / "run"
    train = ["-m", "clsfit", "train", str(small_set), *OPTIONS, "-o", str(output)]

    def launch() -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
        return start([sys.executable, *launcher, *train])  # type: ignore[no-any-return]

    process = launch()
    assert until(lambda: rows(output) >= 3, process), process.communicate()
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    found, skipped = checkpoints.newest_verified(output / "checkpoints")
    assert found is not None
    assert skipped == []
    assert f"saved at step {found.step} in" in said
    process = launch()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert outcome(output) == expected
