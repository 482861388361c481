"""Bugs of the course notes on metrics and validation, each law shown red on the notes' own formula.

A law is a function of an implementation. It holds for ours, and it fails for the notes'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.metrics.counts import F1, Accuracy, Precision, Recall
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.metrics.ordered import RootMeanSquaredError
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from torch import Tensor

import clsfit
from clsfit.engine.sums import Sums

CLASSES = 3
Batches = Sequence[tuple[Tensor, Tensor]]
"""Logits [B, 3] and targets [B] of each batch."""
Value = Callable[[Batches], float]


def ours(metric: Callable[[], Any]) -> Value:
    """A metric of ours as a run counts it: through the sums over an epoch."""

    def value(batches: Batches) -> float:
        sums = Sums({"it": metric()})
        for logits, targets in batches:
            sums.add(logits, targets, F.cross_entropy(logits, targets, reduction="sum"))
        return sums.scores()["it"] or 0.0

    return value


def predicted(targets: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """A batch in which the samples of ``targets`` are predicted as ``classes``."""
    return torch.eye(CLASSES)[classes], targets


def right(count: int) -> tuple[Tensor, Tensor]:
    targets = torch.arange(count) % CLASSES
    return predicted(targets, targets)


def wrong(count: int) -> tuple[Tensor, Tensor]:
    targets = torch.arange(count) % CLASSES
    return predicted(targets, (targets + 1) % CLASSES)


def uneven() -> Batches:
    """Three batches of 20 and one of 3, with other shares of classes and of errors in each."""
    generator = torch.Generator().manual_seed(4)
    drawn = []
    for count, noise in ((20, 0.2), (20, 0.5), (20, 2.0), (3, 9.0)):
        targets = torch.randint(CLASSES, (count,), generator=generator)
        drawn.append((torch.eye(CLASSES)[targets] + noise * torch.randn(count, CLASSES, generator=generator), targets))
    return drawn


def joined(batches: Batches) -> tuple[Tensor, Tensor]:
    return torch.cat([logits for logits, _ in batches]), torch.cat([targets for _, targets in batches])


# Accuracy: over a batch of 64, however many there are; then over the number of batches


def notes_accuracy(batches: Batches) -> float:
    shares = [int((logits.argmax(1) == targets).sum()) / 64 for logits, targets in batches]
    return sum(shares) / len(shares)


def accuracy_of_right_ones_is_1(accuracy: Value) -> None:
    assert accuracy([right(20)]) == 1.0
    assert accuracy([right(64), right(64), right(2)]) == 1.0


def test_accuracy_of_a_short_batch() -> None:
    accuracy_of_right_ones_is_1(ours(Accuracy))
    assert notes_accuracy([right(20)]) == 0.3125
    with pytest.raises(AssertionError):
        accuracy_of_right_ones_is_1(notes_accuracy)


def mean_of_batch_accuracies(batches: Batches) -> float:
    return float(np.mean([(logits.argmax(1) == targets).float().mean() for logits, targets in batches]))


def every_sample_counts_alike(accuracy: Value) -> None:
    assert accuracy([right(64), right(64), wrong(2)]) == 128 / 130


def test_accuracy_of_a_short_last_batch() -> None:
    every_sample_counts_alike(ours(Accuracy))
    with pytest.raises(AssertionError):
        every_sample_counts_alike(mean_of_batch_accuracies)


# Validation loss: the mean of the batches' means

Loss = Callable[[Sequence[Tensor]], float]
"""From the samples' losses [B] of each batch."""


def notes_validation_loss(batches: Sequence[Tensor]) -> float:
    total = 0.0
    for losses in batches:
        total += losses.mean().item()
    return total / len(batches)


def our_validation_loss(batches: Sequence[Tensor]) -> float:
    sums = Sums({})
    for losses in batches:
        sums.add(torch.zeros(len(losses), CLASSES), torch.zeros(len(losses), dtype=torch.int64), losses.sum())
    return sums.scores()["loss"] or 0.0


def loss_is_the_samples_mean(loss: Loss) -> None:
    batches = [torch.full((64,), 0.9)] * 4 + [torch.zeros(2)]
    assert loss(batches) == pytest.approx(torch.cat(batches).double().mean().item(), rel=1e-6)


def test_validation_loss() -> None:
    loss_is_the_samples_mean(our_validation_loss)
    batches = [torch.full((64,), 0.9)] * 4 + [torch.zeros(2)]
    assert notes_validation_loss(batches) == pytest.approx(0.72)
    assert our_validation_loss(batches) == pytest.approx(0.893, abs=5e-4)
    with pytest.raises(AssertionError):
        loss_is_the_samples_mean(notes_validation_loss)


# RMSE: the mean of the batches' roots


def notes_rmse(batches: Batches) -> float:
    roots = [math.sqrt(F.mse_loss(logits.argmax(1).double(), targets.double())) for logits, targets in batches]
    return sum(roots) / len(roots)


def our_rmse(batches: Batches) -> float:
    return ours(lambda: RootMeanSquaredError(("0", "1", "2")))(batches)


def rmse_is_the_root_of_the_whole_mse(rmse: Value) -> None:
    logits, targets = joined(uneven())
    whole = math.sqrt(F.mse_loss(logits.argmax(1).double(), targets.double()))
    assert rmse(uneven()) == pytest.approx(whole, rel=1e-14)


def test_rmse() -> None:
    rmse_is_the_root_of_the_whole_mse(our_rmse)
    with pytest.raises(AssertionError):
        rmse_is_the_root_of_the_whole_mse(notes_rmse)


# Precision, recall, F1: of each batch, then averaged


@pytest.mark.parametrize(
    ("metric", "score"), [(Precision, precision_score), (Recall, recall_score), (F1, f1_score)], ids=["P", "R", "F1"]
)
def test_precision_recall_and_f1(metric: Any, score: Any) -> None:
    def notes(batches: Batches) -> float:
        return float(np.mean([score(y, x.argmax(1), average="macro", zero_division=0) for x, y in batches]))

    def it_is_the_whole_epoch_s(value: Value) -> None:
        logits, targets = joined(uneven())
        whole = score(targets, logits.argmax(1), average="macro", zero_division=0)
        assert value(uneven()) == pytest.approx(whole, rel=1e-14)

    it_is_the_whole_epoch_s(ours(lambda: metric(CLASSES)))
    with pytest.raises(AssertionError):
        it_is_the_whole_epoch_s(notes)


# AUC: a class without samples counts 0


def notes_auroc(batches: Batches) -> float:
    logits, targets = joined(batches)
    p = logits.double().softmax(1)
    areas = [roc_auc_score(targets == k, p[:, k]) if (targets == k).any() else 0.0 for k in range(CLASSES)]
    return sum(areas) / CLASSES


def an_absent_class_changes_nothing(auroc: Value) -> None:
    targets = torch.tensor([0, 1, 0, 1])
    assert auroc([predicted(targets, targets)]) == 1.0


def test_auroc_of_an_absent_class() -> None:
    an_absent_class_changes_nothing(ours(lambda: AUROC(CLASSES)))
    with pytest.raises(AssertionError):
        an_absent_class_changes_nothing(notes_auroc)


# The log interval: matches over batch_size and interval; what is left at the end is dropped


def notes_logged(batches: Batches, batch_size: int = 10, interval: int = 2) -> Iterator[float]:
    matches = 0
    for i, (logits, targets) in enumerate(batches):
        matches += int((logits.argmax(1) == targets).sum())
        if (i + 1) % interval == 0:
            yield matches / batch_size / interval
            matches = 0


def notes_last_logged(batches: Batches) -> float:
    return list(notes_logged(batches))[-1]


def the_last_batch_is_logged_by_its_size(value: Value) -> None:
    assert value([right(10), right(10), right(10), right(3)]) == 1.0


def no_batch_is_dropped(value: Value) -> None:
    assert value([right(10), right(10), wrong(10)]) == 2 / 3


@pytest.mark.parametrize("law", [the_last_batch_is_logged_by_its_size, no_batch_is_dropped])
def test_log_interval(law: Callable[[Value], None]) -> None:
    law(ours(Accuracy))
    with pytest.raises(AssertionError):
        law(notes_last_logged)


# Sums: `loss_train_sum += loss` keeps every step's graph


def notes_kept(pictures: Path, output: Path) -> list[Tensor]:
    model, total, kept = torch.nn.Linear(4, CLASSES), torch.zeros(()), []
    for _ in range(3):
        loss = F.cross_entropy(model(torch.ones(2, 4)), torch.tensor([0, 1]))
        total = total + loss
        kept.append(total)
    return kept


def our_kept(pictures: Path, output: Path) -> list[Tensor]:
    """What the sums of a real training are given, step by step."""
    kept: list[Tensor] = []
    plain = Sums.add

    def add(self: Sums, logits: Tensor, targets: Tensor, loss_sum: Tensor) -> None:
        kept.extend((logits, targets, loss_sum))
        plain(self, logits, targets, loss_sum)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sums, "add", add)
        clsfit.train(pictures, output=output, model="mlp", epochs=1, verbosity=0, threads=1)
    return kept


def test_sums_keep_no_graph(pictures: Path, tmp_path: Path) -> None:
    def no_graph_is_kept(implementation: Callable[[Path, Path], list[Tensor]]) -> None:
        kept = implementation(pictures, tmp_path / "run")
        assert kept
        assert not any(tensor.requires_grad for tensor in kept)

    no_graph_is_kept(our_kept)
    with pytest.raises(AssertionError):
        no_graph_is_kept(notes_kept)
