"""A stranger's components train by name, together and one by one, and an interrupted run goes on exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from clsfit.engine.state import from_blob
from clsfit.storage import modelfile


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def outcome(directory: Path) -> tuple[Any, ...]:
    """What an interruption must not change, without what a clock says."""
    clock = {"seconds", "train_images_per_second"}
    return (
        *((directory / name).read_bytes() for name in ("last.safetensors", "best.safetensors", "diary.txt")),
        [{key: value for key, value in row.items() if key not in clock} for row in rows(directory)],
        {k: v for k, v in json.loads((directory / "summary.json").read_text()).items() if k not in clock},
    )


def test_all_six_together(trained: SimpleNamespace) -> None:
    first, second, third = rows(trained.directory)
    assert {"train/hits", "val/hits"} <= first.keys()
    assert third["train/loss"] < first["train/loss"]
    assert third["train/hits"] >= third["train/accuracy"] > 0.5
    assert (first["lr"], second["lr"], third["lr"]) == (0.003, 0.003, 0.0015)  # a step down after two epochs
    diary = (trained.directory / "diary.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in diary if line.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
    assert diary[0].startswith("step 3: lr 0.003, largest gradient 0.")
    assert "diary: 364 parameters" in trained.stderr
    assert "diary: 364 parameters" in (trained.directory / "log.txt").read_text()


def test_a_parameter_of_the_loss_is_trained_and_saved(trained: SimpleNamespace) -> None:
    tensors = from_blob(modelfile.read(trained.directory / "last.safetensors").blob)
    learned = float(tensors["loss.log_temperature"])
    assert math.isfinite(learned)
    assert learned != 0.0  # where it began


ALONE = {
    "--model pocket --no-model.norm": (
        "model",
        {"name": "pocket", "width": 6, "dropout": 0.2, "norm": False, "weights": None},
    ),
    "--loss tempered --loss.smoothing 0.1": (
        "loss",
        {"name": "tempered", "temperature": 1.0, "smoothing": 0.1, "class_weights": None},
    ),
    "--optimizer rmsprop --optimizer.lr 1e-4": (
        "optimizer",
        {"name": "rmsprop", "lr": 0.0001, "alpha": 0.95, "momentum": 0.0},
    ),
    "--scheduler staircase --scheduler.every 2": ("scheduler", {"name": "staircase", "every": 2, "gamma": 0.5}),
    "--metric.hits.k 1": ("metric", {"name": "hits", "k": 1}),
    "--callback diary --callback.diary.every 2": ("callback", {"name": "diary", "every": 2}),
    "--loss clsfit-stranger:focal": ("loss", {"name": "clsfit-stranger:focal", "strength": 2, "class_weights": None}),
}


@pytest.fixture(scope="module")
def alone(strangers: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """What a run with one of the stranger's components did, and its directory."""
    directories = [tmp_path_factory.mktemp("alone") / "run" for _ in ALONE]
    done = strangers.several(
        *(
            ["train", pictures, *options.split(), "--epochs", 1, "-q", "-o", directory]
            for options, directory in zip(ALONE, directories, strict=True)
        )
    )
    return dict(zip(ALONE, zip(done, directories, strict=True), strict=True))


@pytest.mark.parametrize("options", ALONE)
def test_one_by_one(alone: dict[str, tuple[Any, Path]], options: str) -> None:
    (done, directory), (slot, written) = alone[options], ALONE[options]
    assert (done.code, done.stderr) == (0, "")
    config = yaml.safe_load((directory / "config.yaml").read_text())[slot]
    assert written in (config if isinstance(config, list) else [config])
    (row,) = rows(directory)
    assert math.isfinite(row["val/loss"])
    if written["name"] == "hits":
        assert row["val/hits"] == row["val/accuracy"]
    if written["name"] == "diary":
        assert (directory / "diary.txt").read_text().startswith("step 2: ")


def test_the_bundled_namesake_wins(strangers: Any, pictures: Path) -> None:
    shown = strangers.clsfit("train", pictures, "--loss", "focal", "--print-config").stdout
    assert "loss: {name: focal, gamma: 2.0, class_weights: null}" in shown


def test_an_interrupted_run_goes_on_to_the_bit(strangers: Any, trained: SimpleNamespace, tmp_path: Path) -> None:
    steps = rows(trained.directory)[0]["step"]
    command = (*trained.command, "-o", tmp_path / "run", "--resume")
    # killed before a checkpoint is complete, and in the second epoch before one is begun
    for epoch, failpoint in enumerate(["checkpoint:rename:kill@4", "metrics:fsync:kill@9"]):
        strangers.clsfit(*command, code=-9, CLSFIT_FAILPOINT=failpoint)
        saved = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
        assert epoch * steps < int(saved[-1].name.removeprefix("step-")) < (epoch + 1) * steps
        assert not (tmp_path / "run" / "summary.json").exists()
    assert "resumed at step" in strangers.clsfit(*command).stderr
    assert outcome(tmp_path / "run") == outcome(trained.directory)
