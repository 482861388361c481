"""A run that is saved at every step, resumed from each of its saves: the same end to the bit, 40 of 40."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEPS = 40
OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4, "dropout": 0.3},
    "augment": ["hflip", {"name": "crop", "padding": 2}],
    "metric": ["f1"],
    "threads": 1,
}
SAVED = [{"name": "checkpoint", "every_steps": 1}, {"name": "early_stop", "patience": 1000}]
KINDS: dict[str, dict[str, Any]] = {  # of 51 training pictures: 5 steps in each of 8 epochs
    "adamw": {
        "optimizer": "adamw",
        "callback": [*SAVED, {"name": "accumulate", "steps": 2}],
        "epochs": 8,
        "batch_size": 6,
    },
    "sgd-mixup": {
        "optimizer": "sgd",
        "augment": [*OPTIONS["augment"], "mixup"],
        "scheduler": "plateau",
        "callback": SAVED,
        "epochs": 8,
        "batch_size": 11,
    },
}
Saves = tuple[Path, list[tuple[int, Path]]]


@pytest.fixture
def saved(saves_of: Callable[..., Saves], request: pytest.FixtureRequest) -> Saves:
    """The run of the kind that the test names; a save at step 0, after every step, and when an epoch was judged."""
    finished, saves = saves_of("whole", **(OPTIONS | KINDS[request.param]))
    assert {step for step, _ in saves} == set(range(STEPS + 1))
    return finished, saves


@pytest.mark.parametrize(
    ("saved", "count"),
    [
        pytest.param("adamw", 8, id="adamw-some"),
        pytest.param("adamw", None, marks=pytest.mark.faults, id="adamw-all"),
        pytest.param("sgd-mixup", None, marks=pytest.mark.faults, id="sgd-mixup-all"),
    ],
    indirect=["saved"],
)
def test_resumes_from_every_step(
    saved: Saves,
    count: int | None,
    request: pytest.FixtureRequest,
    seed: int,
    chance: random.Random,
    train: Callable[..., Path],
    outcome: Callable[[Path], Any],
) -> None:
    finished, saves = saved
    kind = KINDS[request.node.callspec.params["saved"]]
    expected = outcome(finished)
    rarely = [{"name": "checkpoint", "every_steps": 15}, *kind["callback"][1:]]  # an interval may be another one
    for step, directory in saves if count is None else chance.sample(saves, count):
        assert not (directory / "summary.json").exists()
        train(directory, **(OPTIONS | kind | {"callback": rarely}))
        assert outcome(directory) == expected, f"resumed from step {step}, seed {seed}"


@pytest.mark.faults
@pytest.mark.parametrize("saved", ["adamw"], indirect=True)
def test_resumes_in_processes_of_their_own(
    saved: Saves,
    seed: int,
    chance: random.Random,
    command: Callable[..., list[str]],
    complete: Callable[..., Any],
    outcome: Callable[[Path], Any],
) -> None:
    finished, saves = saved
    for step, directory in chance.sample(saves, 4):
        complete(command(directory, ""))
        assert outcome(directory) == outcome(finished), f"resumed from step {step}, seed {seed}"
