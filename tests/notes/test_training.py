"""Bugs of the course notes in the training loop, each law shown red on the notes' own way.

A law is a function of an implementation. It holds for ours, and it fails for the notes'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.callbacks.early_stop import EarlyStop
from torch import Tensor

import clsfit
from clsfit import keyed
from clsfit.engine.records import Monitor

SAMPLES, FEATURES, CLASSES, LR = 50, 6, 3, 0.1
PICTURES = torch.from_numpy(keyed.uniform(1, np.arange(SAMPLES), FEATURES)).float()
TARGETS = torch.from_numpy(keyed.permutation(2, SAMPLES) % CLASSES)

Loop = Callable[[int, int], Tensor]
"""(micro-batch, micro-batches per step) -> the weights after two epochs."""


def accumulating_is_the_big_batch(train: Loop) -> None:
    """50 pictures in micro-batches of 8, two to a step, are those pictures in batches of 16, the last ones too."""
    torch.testing.assert_close(train(8, 2), train(16, 1), rtol=1e-5, atol=1e-6)


def notes_loop(divided: bool, late: bool) -> Loop:
    """The notes' loops: with the loss undivided, or divided but stepping after the first micro-batch."""

    def train(batch: int, steps: int) -> Tensor:
        weight = torch.zeros(CLASSES, FEATURES, requires_grad=True)
        for _ in range(2):
            for i, first in enumerate(range(0, SAMPLES, batch)):
                picked = slice(first, first + batch)
                loss = F.cross_entropy(PICTURES[picked] @ weight.T, TARGETS[picked])
                (loss / steps if divided else loss).backward()  # type: ignore[no-untyped-call]
                if (i + int(late)) % steps == 0:
                    assert weight.grad is not None
                    with torch.no_grad():
                        weight -= LR * weight.grad
                    weight.grad = None
        return weight.detach()

    return train


def mended_loop(batch: int, steps: int) -> Tensor:
    """The notes' loop without its bugs: the law is red on the bugs, not on the loop."""
    weight = torch.zeros(CLASSES, FEATURES, requires_grad=True)
    for _ in range(2):
        for window in range(0, SAMPLES, batch * steps):
            samples = min(batch * steps, SAMPLES - window)
            for first in range(window, window + samples, batch):
                picked = slice(first, min(first + batch, SAMPLES))
                total = F.cross_entropy(PICTURES[picked] @ weight.T, TARGETS[picked], reduction="sum")
                (total / samples).backward()  # type: ignore[no-untyped-call]
            assert weight.grad is not None
            with torch.no_grad():
                weight -= LR * weight.grad
            weight.grad = None
    return weight.detach()


def our_loop(data: Path, place: Path) -> Loop:
    def train(batch: int, steps: int) -> Tensor:
        run = clsfit.train(
            data,
            output=place / f"{batch}x{steps}",
            model={"name": "mlp", "hidden": []},
            optimizer={"name": "sgd", "lr": LR, "momentum": 0, "weight_decay": 0},
            scheduler="constant",
            callback=["checkpoint", {"name": "accumulate", "steps": steps}],
            batch_size=batch,
            epochs=2,
            verbosity=0,
        )
        weights: Tensor = clsfit.load(run.directory / "last.safetensors").module.get_parameter("layers.0.weight")
        return weights.detach()

    return train


def test_accumulating_is_the_big_batch(pictures: Path, tmp_path: Path) -> None:
    accumulating_is_the_big_batch(our_loop(pictures, tmp_path))
    accumulating_is_the_big_batch(mended_loop)
    for divided, late in ((False, True), (True, False), (True, True)):  # the last one: the short window's leak
        with pytest.raises(AssertionError):
            accumulating_is_the_big_batch(notes_loop(divided, late))


Stopper = Callable[[Sequence[float], int], int]
"""(validation accuracies, patience) -> the epoch after which training stops, from 1."""


def patience_is_epochs_without_improvement(stop: Stopper) -> None:
    """The best is epoch 2; after exactly three epochs without improvement it is over."""
    assert stop([0.5, 0.8, 0.7, 0.8, 0.6, 0.7, 0.7, 0.7], 3) == 5


def notes_stop(accuracies: Sequence[float], patience: int) -> int:
    """The notes: ``counter > patience``."""
    best, counter = 0.0, 0
    for epoch, accuracy in enumerate(accuracies, 1):
        counter = 0 if accuracy > best else counter + 1
        best = max(best, accuracy)
        if counter > patience:
            return epoch
    return len(accuracies)


def our_stop(accuracies: Sequence[float], patience: int) -> int:
    callback, stopped = EarlyStop(patience=patience), []
    for epoch, accuracy in enumerate(accuracies, 1):
        run: Any = SimpleNamespace(
            monitor=Monitor("val/accuracy", True), scores={"val/accuracy": accuracy}, epoch=epoch, stop=stopped.append
        )
        callback.on_epoch_end(run=run)
        if stopped:
            return epoch
    return len(accuracies)


def test_patience() -> None:
    patience_is_epochs_without_improvement(our_stop)
    with pytest.raises(AssertionError):
        patience_is_epochs_without_improvement(notes_stop)


Saver = Callable[[Path], list[str]]
"""Trains into a folder that is not there yet; returns the names of the files with weights."""


def the_best_is_one_file_with_a_plain_name(save: Saver, folder: Path) -> None:
    names = save(folder)
    assert len([name for name in names if name.startswith("best")]) == 1
    assert not any("%" in name for name in names)


def notes_save(folder: Path) -> list[str]:
    """The notes: a file for every better epoch, its accuracy in the name; nobody makes the folder."""
    model, best = torch.nn.Linear(2, 2), 0.0
    for epoch, accuracy in enumerate([0.5, 0.75, 0.625]):
        if accuracy > best:
            best = accuracy
            torch.save(model.state_dict(), folder / f"{epoch:03}_accuracy_{accuracy:4.2%}.ckpt")
    return [path.name for path in folder.iterdir()]


def notes_save_into_a_folder(folder: Path) -> list[str]:
    folder.mkdir()
    return notes_save(folder)


def test_best_model(pictures: Path, tmp_path: Path) -> None:
    def our_save(folder: Path) -> list[str]:
        run = clsfit.train(pictures, output=folder, model="mlp", epochs=3, verbosity=0)
        resumed = clsfit.train(pictures, output=folder, resume=True, model="mlp", epochs=3, verbosity=0)
        assert resumed.summary == run.summary, "the notes' weights alone cannot be gone on with"
        return [path.name for path in folder.glob("*.safetensors")]

    the_best_is_one_file_with_a_plain_name(our_save, tmp_path / "ours")
    with pytest.raises(RuntimeError, match="does not exist"):
        the_best_is_one_file_with_a_plain_name(notes_save, tmp_path / "notes")
    with pytest.raises(AssertionError):
        the_best_is_one_file_with_a_plain_name(notes_save_into_a_folder, tmp_path / "made")
