"""Several ranks hold the same bits after each step, and their gradients, losses and scores are those of one process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Team = Callable[..., list[Any]]
CLOCK = {"seconds", "train_images_per_second"}
LOOK_ON: list[Any] = ["none", "look_on"]

CASES: dict[str, dict[str, Any]] = {
    "batch norm, accumulation, a last step of one rank": {  # 51 pictures: six batches of 8, one of 3
        "model": {"name": "net", "norm": True, "dropout": 0.2},
        "callback": [*LOOK_ON, {"name": "accumulate", "steps": 3}],
        "batch_size": 8,
    },
    "parameters that are unused or not trained": {
        "model": {"name": "net", "norm": True, "odd": True},
        "optimizer": "adamw",
        "loss": "learnt",
    },
    "average of the weights, clipped gradients": {
        "callback": [*LOOK_ON, "ema", {"name": "clip_gradients", "max_norm": 0.1}],
        "model": {"name": "net", "norm": True},
        "augment": ["hflip", {"name": "crop", "padding": 1}, "mixup"],
    },
    "an optimizer that evaluates twice": {
        "optimizer": "sam",
        "model": {"name": "net", "norm": True, "dropout": 0.3},
        "batch_size": 8,
    },
    "plateau and early stop": {
        "scheduler": {"name": "plateau", "patience": 1},
        "callback": [*LOOK_ON, {"name": "early_stop", "patience": 2}],
        "epochs": 5,
        "optimizer": {"name": "sgd", "lr": 1e-9},
        "batch_size": 25,
    },
    "bf16": {"precision": "bf16", "model": {"name": "net", "norm": True, "odd": True}},
    "frozen layers": {
        "callback": [*LOOK_ON, {"name": "freeze", "pattern": "first|norm", "unfreeze_epoch": 2}],
        "model": {"name": "net", "norm": True},
    },
}
FROZEN = ["first.bias", "first.weight", "norm.bias", "norm.weight"]


def steps(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [noted for noted in seen if "bits" in noted]


def epochs(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [noted for noted in seen if "scores" in noted]


@pytest.mark.parametrize("case", CASES)
def test_all_ranks_hold_the_same_bits_after_each_step(team: Team, pictures: Path, tmp_path: Path, case: str) -> None:
    options = {"callback": LOOK_ON} | CASES[case]
    ranks = team("rank_training.train", 3, data=pictures, output=tmp_path / "run", options=options)
    seen = ranks[0]["seen"]
    assert len({noted["bits"] for noted in steps(seen)}) == len(steps(seen)) >= 6
    assert len(epochs(seen)) >= 2
    for other in ranks[1:]:
        assert other == ranks[0]
    missing = [sorted(noted["missing"]) for noted in steps(seen)]
    if "unused" in case:
        assert missing == [["unused"]] * len(missing)
    if "frozen" in case:
        assert missing == [FROZEN] * (len(missing) // 2) + [[]] * (len(missing) // 2)
    if "early" in case:
        assert [noted["scores"]["lr"] < 1e-9 for noted in epochs(seen)] == [False, False, True]
        assert len(epochs(seen)) == 3  # of 5


STILL = {"optimizer": {"name": "sgd", "lr": 1e-30, "weight_decay": 0.0}, "scheduler": "constant", "epochs": 1}
"""Weights that no step moves, so that those of all steps can be compared."""

SAME: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"callback": ["none", {"name": "look_on", "gradients": True}, {"name": "accumulate", "steps": 2}]},
    "class weights": {"loss": {"name": "cross_entropy", "class_weights": "balanced"}},
    "weights of pictures": {"loss": "focal"},
    "soft targets": {"augment": ["hflip", "mixup", "cutmix"]},
    "soft targets, weights of pictures and classes": {
        "augment": ["mixup", {"name": "crop", "padding": 1}],
        "loss": {"name": "cross_entropy", "class_weights": "balanced"},
    },
    "a scalar": {"loss": "scalar_mean"},
    "a loss that learns": {"loss": "learnt", "model": {"name": "net", "odd": True}},
}
WORLDS = {"plain": (2, 3, 4), "soft targets, weights of pictures and classes": (2, 4)}


@pytest.fixture(scope="module")
def weighted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures in a table that gives each its weight."""
    table = tmp_path_factory.mktemp("weighted") / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "weight"])
        for place, path in enumerate(sorted(pictures.glob("*/*.png"))):
            writer.writerow([path, path.parent.name, (place * 7 % 11) / 4])
    return table


@pytest.mark.parametrize("case", SAME)
def test_gradients_and_scores_are_those_of_one_process(
    team: Team, pictures: Path, weighted: Path, tmp_path: Path, case: str
) -> None:
    options = {"callback": ["none", {"name": "look_on", "gradients": True}], "val_fraction": 0.4} | STILL | SAME[case]
    data = weighted if "pictures" in case else pictures
    found = {
        world: team("rank_training.train", world, data=data, output=tmp_path / str(world), options=options)[0]["seen"]
        for world in (1, *WORLDS.get(case, (3,)))
    }
    alone = found.pop(1)
    for world, seen in found.items():
        assert len(steps(seen)) == len(steps(alone)) >= 2
        for one, other in zip(steps(alone), steps(seen), strict=True):
            assert one["gradients"].keys() == other["gradients"].keys()
            for name, values in one["gradients"].items():
                expected, actual = torch.tensor(values), torch.tensor(other["gradients"][name])
                largest = expected.abs().max().item()
                torch.testing.assert_close(
                    actual, expected, rtol=1e-5, atol=1e-6 * largest + 1e-9, msg=f"{world} {name}"
                )
        (one,), (other,) = epochs(alone), epochs(seen)
        assert one["scores"].keys() == other["scores"].keys()
        loss, other_loss = (
            noted["scores"].pop("train/loss") for noted in (dict(one, scores=dict(one["scores"])), other)
        )
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert {**one["scores"], "train/loss": 0} == {**other["scores"], "train/loss": 0}  # validation: to the bit


def outcome(directory: Path) -> dict[str, Any]:
    """What no interruption may change."""
    summary = json.loads((directory / "summary.json").read_text())
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {
        **{name: (directory / f"{name}.safetensors").read_bytes() for name in ("best", "last")},
        "summary": {key: value for key, value in summary.items() if key not in CLOCK},
        "rows": [{key: value for key, value in row.items() if key not in CLOCK} for row in rows],
    }


def test_a_run_twice_and_one_that_was_resumed_end_alike(team: Team, pictures: Path, tmp_path: Path) -> None:
    options = {
        "model": {"name": "net", "norm": True, "dropout": 0.2},
        "augment": ["hflip", "mixup"],
        "metric": ["accuracy", "f1", "auroc"],
        "optimizer": "adamw",
        "callback": [*LOOK_ON, {"name": "checkpoint", "every_steps": 1}, {"name": "ema", "decay": 0.9}],
        "batch_size": 8,
    }
    whole, again, parted = (tmp_path / name for name in ("whole", "again", "parted"))
    first, second = (
        team("rank_training.train", 2, data=pictures, output=place, options=options) for place in (whole, again)
    )
    assert first == second
    assert outcome(whole) == outcome(again)
    bits = []
    for signal_at in ([2, 1], [9, 0], []):
        fails = "TerminatedRunError" if signal_at else ""
        ranks = team(
            "rank_training.train",
            2,
            data=pictures,
            output=parted,
            options=options,
            resume=True,
            signal_at=signal_at,
            fails=fails,
        )
        assert ranks[0]["seen"] == ranks[1]["seen"]
        if signal_at:  # to whichever rank it came, all end at its step
            assert steps(ranks[0]["seen"])[-1]["step"] == signal_at[0]
        bits += [[noted["step"], noted["bits"]] for noted in steps(ranks[0]["seen"])]
    assert bits == [[noted["step"], noted["bits"]] for noted in steps(first[0]["seen"])]
    assert outcome(parted) == outcome(whole)


def test_another_number_of_ranks_is_another_run(team: Team, pictures: Path, tmp_path: Path) -> None:
    options = {"callback": [*LOOK_ON, "checkpoint"]}
    call: dict[str, Any] = {"data": pictures, "output": tmp_path / "run", "options": options, "resume": True}
    for stopped in team("rank_training.train", 2, **call, signal_at=[1, 1], fails="TerminatedRunError"):
        assert [noted["step"] for noted in steps(stopped["seen"])] == [1]  # to rank 1 alone, and all know of it
    for world in (1, 3):
        for answer in team("rank_training.train", world, **call, fails="CheckpointError"):
            assert "another number of processes" in answer["error"]
            assert f"ranks: 2 -> {world}" in answer["error"]
    ranks = team("rank_training.train", 3, **call, accept=True)
    assert ranks[1:] == ranks[:1] * 2
    assert outcome(tmp_path / "run")["rows"][-1]["epoch"] == 2
    team("rank_training.train", 3, **call)  # complete, nothing to do; the record says three now
