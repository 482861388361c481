"""Augmentations in whole runs: what is always applied, what is refused, the same weights by any way through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.augments.mixing import CutMix, MixUp
from PIL import Image

import clsfit
from clsfit.build import check_targets
from clsfit.cli import main
from clsfit.engine import checkpoint
from clsfit.errors import ConfigError
from clsfit.storage import modelfile

SMALL: dict[str, Any] = {"model": {"name": "small_cnn", "width": 4}, "batch_size": 8, "threads": 1, "verbosity": 0}
EVERYTHING = [
    "hflip",
    {"name": "random_resized_crop", "scale": [0.3, 1.0]},
    "rotate",
    "center_crop",
    {"name": "grayscale", "p": 0.5},
    {"name": "mixup", "p": 0.5},
    {"name": "cutmix", "p": 0.5},
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 15 colour pictures, each of its own size."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for k, name in enumerate("ab"):
        (folder / name).mkdir()
        for i in range(15):
            pixels = random.integers(0, 256, (*random.integers(20, 50, 2), 3), dtype=np.uint8)
            pixels[..., k] //= 2
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


def header_of(run: clsfit.TrainedRun) -> dict[str, Any]:
    header: dict[str, Any] = modelfile.read(run.directory / "last.safetensors").header
    return header


@pytest.mark.parametrize("uniform", [True, False])
def test_evaluation_and_prediction_apply_what_is_always_applied(
    photos: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uniform: bool
) -> None:
    """Validation, evaluation and prediction agree to the bit, from memory and from a stream."""
    data, size = (pictures, (8, 8)) if uniform else (photos, (24, 24))
    augments = ["hflip", {"name": "center_crop", "fraction": 0.5}]
    run = clsfit.train(data, output=tmp_path / "run", augment=augments, input_size=size, epochs=2, **SMALL)
    assert header_of(run)["augments"] == [
        {"name": "center_crop", "plugin": "standard", "params": {"fraction": 0.5}},
    ]
    last = run.directory / "last.safetensors"
    evaluation = clsfit.load(last).evaluate()
    assert evaluation.scores["loss"] == run.metrics[-1]["val/loss"]
    predictions = list(clsfit.load(last).predict([data / row.path for row in evaluation.rows], workers=2))
    assert [p.probabilities for p in predictions] == [row.probabilities for row in evaluation.rows]

    plain = modelfile.read

    def older(path: Path) -> Any:  # a file from before the header had the key
        read = plain(path)
        del read.header["augments"]
        return read

    monkeypatch.setattr(modelfile, "read", older)
    assert clsfit.load(last).evaluate().scores["loss"] != run.metrics[-1]["val/loss"]


def test_random_augmentations_leave_validation_alone(pictures: Path, tmp_path: Path) -> None:
    """At a learning rate of 0 the validation is that of the run without them, though the training differs."""
    model = {"name": "mlp", "hidden": [8]}  # without a BatchNorm, which would remember the training pictures
    options = {**SMALL, "model": model, "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.0}, "scheduler": "constant"}
    kinds = ["hflip", "random_resized_crop", "rotate", {"name": "mixup", "alpha": 4}, "cutmix"]
    plain = clsfit.train(pictures, output=tmp_path / "plain", **options)
    mixed = clsfit.train(pictures, output=tmp_path / "mixed", augment=kinds, **options)
    assert header_of(mixed)["augments"] == []
    assert mixed.metrics[0]["val/loss"] == plain.metrics[0]["val/loss"]
    assert mixed.metrics[0]["train/loss"] != plain.metrics[0]["train/loss"]


@pytest.mark.parametrize(
    "ways",
    [
        [{"cache": "memory", "workers": 0}, {"cache": "off", "workers": 3}],
        [{"cache": "disk", "workers": 1}, {"cache": "memory", "workers": 2}],
    ],
)
def test_caches_and_workers_change_no_weight(photos: Path, tmp_path: Path, ways: list[dict[str, Any]]) -> None:
    files = []
    for i, way in enumerate(ways):
        made = clsfit.train(
            photos, output=tmp_path / str(i), augment=EVERYTHING, input_size=(24, 24), epochs=2, **SMALL, **way
        )
        files.append((made.directory / "last.safetensors").read_bytes())
    assert files[0] == files[1]


def test_a_resumed_run_is_the_uninterrupted_one(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From inside the second epoch, with every augmentation at once."""
    plain = checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        if (run.epoch, run.step) == (1, 4):
            run.directory.metrics.sync()
            shutil.copytree(run.directory.path, tmp_path / "part")

    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    options = {**SMALL, "augment": EVERYTHING, "input_size": (24, 24), "epochs": 2}
    callbacks = [{"name": "checkpoint", "every_steps": 1}]
    whole = clsfit.train(photos, output=tmp_path / "whole", callback=callbacks, **options)
    monkeypatch.setattr(checkpoint, "save", plain)
    resumed = clsfit.train(photos, output=tmp_path / "part", callback=callbacks, resume=True, workers=2, **options)
    for name in ("last.safetensors", "best.safetensors"):
        assert (resumed.directory / name).read_bytes() == (whole.directory / name).read_bytes()


class Hard(torch.nn.Module):
    """A loss that takes class indices only."""


class Soft(Hard):
    soft_targets = True


@pytest.mark.parametrize("augment", [MixUp(3), CutMix(3, (8, 8))])
def test_mixing_with_a_loss_without_soft_targets_is_refused_by_name(augment: Any) -> None:
    config: Any = SimpleNamespace(one=lambda slot: SimpleNamespace(name="hard"))
    with pytest.raises(ConfigError, match="loss 'hard' takes no soft targets, which 'mixer' makes"):
        check_targets(config, Hard(), [("hflip", object()), ("mixer", augment)])
    check_targets(config, Soft(), [("mixer", augment)])
    check_targets(config, Hard(), [("hflip", object())])


def test_grayscale_on_grey_pictures_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="grayscale"):
        clsfit.train(pictures, output=tmp_path / "run", augment=["grayscale"], epochs=1, **SMALL)
    assert not (tmp_path / "run").exists()


Call = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process; its standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        done = capfd.readouterr()
        assert code == 0, done.err
        return done.out

    return run


def test_how_pictures_are_finished_from_the_command_line(photos: Path, call: Call) -> None:
    """``--resize``, and a mean and deviation per channel: recorded, and different validations that evaluate repeats."""
    losses = set()
    numbers = ["--mean", "0.5,0.4,0.3", "--std", "0.3,0.25,0.2"]
    for resize, extra in (("short", []), ("short", numbers), ("stretch", numbers), ("pad", numbers)):
        name = f"{resize}{len(extra)}"
        options = ["--model", "mlp", "--input-size", 16, "--epochs", 1, "--resize", resize, *extra, "-q", "-o", name]
        call("train", photos, *options)
        finish = modelfile.read(Path(name, "last.safetensors")).header["finish"]
        assert finish["resize"] == resize
        assert finish["mean"] == ([0.5, 0.4, 0.3] if extra else [0.5] * 3)
        assert finish["std"] == ([0.3, 0.25, 0.2] if extra else [0.25] * 3)
        validated = json.loads(Path(name, "metrics.jsonl").read_text())["val/loss"]
        assert json.loads(call("evaluate", name, "--json"))["loss"] == validated
        losses.add(validated)
    assert len(losses) == 4


def test_options_from_the_command_line(photos: Path, call: Call) -> None:
    options = ["--augment.random_resized_crop.scale", "0.5,1", "--augment.rotate.corners", "black"]
    options += ["--augment.mixup.alpha", "0.4", "--augment.mixup.p", "0.5", "--augment.center_crop.fraction", "0.8"]
    printed = call("train", photos, *options, "--print-config")
    for line in ("scale: [0.5, 1.0]", "corners: black", "alpha: 0.4", "fraction: 0.8"):
        assert line in printed
