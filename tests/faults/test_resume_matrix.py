"""What may change a bit at a resume: how an optimizer steps, memory formats, averaged weights, threads.

Files keep no strides, and one thread and two add in different orders; a resume restores both by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OPTIMIZERS = ("sgd", "adamw", "sgd_fused", "sgd_foreach", "adamw_fused", "adamw_foreach")
MODELS = ("small_cnn", "channels_last")
RUN: dict[str, Any] = {
    "callback": [{"name": "checkpoint", "every_steps": 1}],
    "augment": ["hflip"],
    "epochs": 2,
    "batch_size": 16,
}
QUICK = {("sgd", "small_cnn", 1, False), ("adamw_fused", "channels_last", 2, False)}
RESUMES = 4


def cells() -> list[Any]:
    made = [(optimizer, model, 1, False) for optimizer in OPTIMIZERS for model in MODELS]
    made += [(optimizer, "channels_last", 2, False) for optimizer in OPTIMIZERS]
    made += [("adamw", "small_cnn", threads, True) for threads in (1, 2)]
    made += [("adamw_fused", "contiguous", 2, False)]
    return [
        pytest.param(
            *cell,
            marks=() if cell in QUICK else pytest.mark.faults,
            id=f"{cell[0]}-{cell[1]}-{cell[2]}{'-ema' if cell[3] else ''}",
        )
        for cell in made
    ]


@pytest.fixture(autouse=True)
def with_plugin(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(plugin)


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def options(optimizer: str, model: str, ema: bool = False) -> dict[str, Any]:
    chosen = {"name": model} | ({"dropout": 0.2} if model == "small_cnn" else {})
    callbacks = [*RUN["callback"], *(["ema"] if ema else [])]
    return RUN | {"optimizer": optimizer, "model": chosen, "callback": callbacks}


@pytest.mark.parametrize(("optimizer", "model", "threads", "ema"), cells())
def test_a_resume_changes_no_bit(
    optimizer: str,
    model: str,
    threads: int,
    ema: bool,
    seed: int,
    chance: random.Random,
    saves_of: Callable[..., Any],
    train: Callable[..., Path],
    outcome: Callable[[Path], Any],
) -> None:
    import torch

    finished, saves = saves_of("whole", threads=threads, **options(optimizer, model, ema))
    expected = outcome(finished)
    assert len(expected["rows"]) == RUN["epochs"]
    for step, directory in chance.sample(saves, RESUMES):
        torch.set_num_threads(3 - threads)  # another number than the recorded one, and none is asked for
        train(directory, **options(optimizer, model, ema))
        assert torch.get_num_threads() == threads
        assert outcome(directory) == expected, f"resumed from step {step}, seed {seed}"


def test_one_thread_and_two_give_different_bits(
    train: Callable[..., Path], outcome: Callable[[Path], Any], tmp_path: Path
) -> None:
    ends = [outcome(train(tmp_path / str(n), threads=n, **options("sgd", "channels_last"))) for n in (1, 2)]
    assert ends[0]["last.safetensors"] != ends[1]["last.safetensors"]


@pytest.mark.faults
def test_the_recorded_threads_hold_against_the_environment(
    command: Callable[..., list[str]],
    complete: Callable[..., Any],
    outcome: Callable[[Path], Any],
    saves_of: Callable[..., Any],
    seed: int,
    chance: random.Random,
) -> None:
    finished, saves = saves_of("whole", threads=2, **options("adamw_fused", "channels_last"))
    step, directory = chance.choice(saves)
    words = command(directory, "")
    at = words.index("--threads")
    complete(words[:at] + words[at + 2 :], OMP_NUM_THREADS="1")
    assert outcome(directory) == outcome(finished), f"resumed from step {step}, seed {seed}"
