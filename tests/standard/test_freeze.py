"""Freezing: not a bit of what is frozen moves, and an interruption changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from clsfit_standard.callbacks.freeze import Freeze
from clsfit_standard.models.small_cnn import SmallCNN
from clsfit_standard.offers.callbacks import FreezeOptions
from torch import Tensor, nn

import clsfit
from clsfit.engine import checkpoint
from clsfit.engine.modes import training_mode
from clsfit.errors import ConfigError

EPOCHS = 3

OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4, "dropout": 0.3},
    "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.3},
    "epochs": EPOCHS,
    "batch_size": 8,
    "threads": 1,
}


class FakeRun:
    def __init__(self, model: nn.Module, epoch: int = 0) -> None:
        self.model, self.epoch, self.epochs, self.lines = model, epoch, 5, list[str]()

    def say(self, line: str) -> None:
        self.lines.append(line)


def small() -> SmallCNN:
    return SmallCNN(num_classes=3, in_channels=1, input_size=(8, 8), width=2)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, {"head.weight", "head.bias"}),
        (r"^features", {"head.weight", "head.bias"}),
        (r"weight$", {"head.bias", "features.1.bias", "features.5.bias", "features.8.bias"}),
        (r"^features\.(?![89])", {"head.weight", "head.bias", "features.8.weight", "features.8.bias"}),
    ],
)
def test_what_is_trained(pattern: str | None, expected: set[str]) -> None:
    run: Any = FakeRun(small())
    Freeze(pattern).on_fit_start(run=run)
    names = trained(run.model)
    assert names == expected
    sizes = {name: parameter.numel() for name, parameter in run.model.named_parameters()}
    numbers, moving = sum(sizes.values()), sum(sizes[name] for name in names)
    assert run.lines == [f"freeze: {numbers} parameters: {moving} trained, {numbers - moving} frozen"]


def test_the_line_of_a_large_model() -> None:
    from clsfit_standard.models import resnet

    run: Any = FakeRun(resnet.resnet18(num_classes=2, in_channels=3))
    Freeze().on_fit_start(run=run)
    assert run.lines == ["freeze: 11,177,538 parameters: 1,026 trained, 11,176,512 frozen"]
    assert trained(run.model) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("epoch", range(4))
def test_unfreezing_by_the_epoch(epoch: int) -> None:
    """Started, or resumed, before the ``epoch``-th epoch; or inside it, where no epoch's start is told."""
    run: Any = FakeRun(small(), epoch)
    callback = Freeze(unfreeze_epoch=3)
    callback.on_fit_start(run=run)
    inside = len(trained(run.model))
    callback.on_epoch_start(run=run)
    assert len(trained(run.model)) == inside
    assert inside == (2 if epoch < 2 else 11)
    run.epoch = 2
    callback.on_epoch_start(run=run)
    assert len(trained(run.model)) == 11
    assert run.lines[1:] == (["freeze: all parameters are trained from epoch 3 on"] if epoch < 2 else [])


def test_what_the_model_froze_itself_stays_frozen() -> None:
    run: Any = FakeRun(small())
    run.model.features[0].weight.requires_grad_(False)
    callback = Freeze(unfreeze_epoch=2)
    callback.on_fit_start(run=run)
    run.epoch = 1
    callback.on_epoch_start(run=run)
    assert len(trained(run.model)) == 10


@pytest.mark.parametrize(("pattern", "told"), [("nothing_like_it", "no parameter"), ("", "all parameters")])
def test_a_pattern_must_find_some_and_leave_some(pattern: str, told: str) -> None:
    run: Any = FakeRun(small())
    with pytest.raises(ConfigError, match=told) as refused:
        Freeze(pattern).check(run)
    assert "features.0.weight" in refused.value.remedy
    assert "head.bias" in refused.value.remedy
    single: Any = FakeRun(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="no parameter"):
        Freeze().check(single)


def test_unfreezing_after_the_end_is_refused() -> None:
    run: Any = FakeRun(small())
    with pytest.raises(ConfigError, match="5 epochs"):
        Freeze(unfreeze_epoch=6).check(run)
    Freeze(unfreeze_epoch=5).check(run)


def test_options() -> None:
    with pytest.raises(ValueError, match="pattern"):
        FreezeOptions(pattern="(")


def test_frozen_normalisation_stays_in_evaluation() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)),
        nn.BatchNorm2d(2),
        nn.BatchNorm2d(2, affine=False),
        nn.InstanceNorm2d(2, affine=True),
        nn.InstanceNorm2d(2, affine=True, track_running_stats=True),
        nn.GroupNorm(1, 2),
    )
    model.eval()
    training_mode(model)
    assert all(module.training for module in model.modules())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[1].bias.requires_grad_(True)
    training_mode(model)
    assert [name for name, module in model.named_modules() if not module.training] == ["0.0", "4"]
    model.requires_grad_(True)
    training_mode(model)
    assert all(module.training for module in model.modules())


def train(pictures: Path, output: Path, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(pictures, output=output, verbosity=0, resume=True, **(OPTIONS | changed))


def tensors(path: Path) -> dict[str, Tensor]:
    loaded = safetensors.torch.load_file(path)
    return {name.removeprefix("model."): tensor for name, tensor in loaded.items()}


@pytest.fixture
def saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[int, int], Path]]:
    """The run's directory as it was after each save, by finished epochs and steps."""
    found: dict[tuple[int, int], Path] = {}
    plain = checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        run.directory.metrics.sync()
        found[run.epoch, run.step] = tmp_path / f"after-{run.epoch}-{run.step}"
        shutil.copytree(run.directory.path, found[run.epoch, run.step])

    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    yield found
    monkeypatch.undo()


def weights_at(directory: Path) -> dict[str, Tensor]:
    newest = max((directory / "checkpoints").glob("step-*"))
    return tensors(newest / "model.safetensors")


@pytest.mark.parametrize("optimizer", ["adamw", {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}])
def test_not_a_bit_of_what_is_frozen_moves(
    optimizer: Any, pictures: Path, tmp_path: Path, saves: dict[tuple[int, int], Path]
) -> None:
    """No weight by its decay, no statistic by the batches; the last layer learns."""
    train(pictures, tmp_path / "run", callback=["checkpoint", "freeze"], optimizer=optimizer)
    before, after = weights_at(saves[0, 0]), tensors(tmp_path / "run" / "last.safetensors")
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {"head.weight", "head.bias"}


def test_resumes_from_before_and_after_unfreezing(
    pictures: Path, tmp_path: Path, saves: dict[tuple[int, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = [{"name": "checkpoint", "every_steps": 1}, {"name": "freeze", "unfreeze_epoch": 2}]
    whole = train(pictures, tmp_path / "whole", callback=callbacks).directory
    monkeypatch.undo()
    last = max(step for epochs, step in saves if epochs == 0)
    frozen, later = weights_at(saves[0, last]), weights_at(saves[EPOCHS, EPOCHS * last])
    assert torch.equal(frozen["features.0.weight"], weights_at(saves[0, 0])["features.0.weight"])
    assert not torch.equal(frozen["features.0.weight"], later["features.0.weight"])
    assert not torch.equal(frozen["features.1.running_mean"], later["features.1.running_mean"])
    expected = (whole / "last.safetensors").read_bytes()
    points = [(0, 0), (0, 3), (0, last), (1, last + 1), (1, last + 3), (2, 2 * last + 1)]
    for point in points:
        resumed = train(pictures, saves[point], callback=callbacks).directory
        assert (resumed / "last.safetensors").read_bytes() == expected, point
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == EPOCHS
