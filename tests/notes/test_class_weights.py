"""Bugs of the course notes on class weights, each law shown red on the notes' own formula.

A law is a function of an implementation. It holds for ours, and it fails for the notes'.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clsfit.data.balance import class_weights

WEIGHTS = torch.tensor([0.4, 3.0])
TARGETS = torch.tensor([0, 0, 0, 0, 0, 1])
LOGITS = torch.tensor([[1.5, 0.2], [0.1, 0.3], [2.0, -1.0], [0.4, 0.5], [-0.3, 0.2], [0.9, 0.6]])

Total = Callable[[Tensor, Tensor], Tensor]


def notes_mean(logits: Tensor, targets: Tensor) -> Tensor:
    """The notes: ``nn.CrossEntropyLoss(weight)``, whose mean divides by the sum of the samples' weights."""
    return F.cross_entropy(logits, targets, weight=WEIGHTS)


def our_mean(logits: Tensor, targets: Tensor) -> Tensor:
    """The weight times the sample's loss, summed, divided by the number of samples."""
    return (F.cross_entropy(logits, targets, reduction="none") * WEIGHTS[targets]).sum() / len(targets)


def batches_add_up(mean: Total) -> None:
    """The loss over all samples is that of its batches, by their numbers of samples."""
    parts = [(LOGITS[:3], TARGETS[:3]), (LOGITS[3:], TARGETS[3:])]
    whole = mean(LOGITS, TARGETS)
    assert sum(mean(*part) * 3 for part in parts) / 6 == pytest.approx(whole.item(), rel=1e-6)


def a_weight_counts_in_a_batch_of_one_class(mean: Total) -> None:
    """Five common samples alone count 0.4 as much as without weights."""
    plain = F.cross_entropy(LOGITS[:5], TARGETS[:5])
    assert mean(LOGITS[:5], TARGETS[:5]).item() == pytest.approx(0.4 * plain.item(), rel=1e-6)


@pytest.mark.parametrize("law", [batches_add_up, a_weight_counts_in_a_batch_of_one_class])
def test_the_sum_is_divided_by_samples_not_by_weights(law: Callable[[Total], None]) -> None:
    law(our_mean)
    with pytest.raises(AssertionError):
        law(notes_mean)


def notes_weights(counts: list[int]) -> list[float]:
    """The notes: "weights proportional to the class count"."""
    return [count / sum(counts) for count in counts]


def our_weights(counts: list[int]) -> list[float]:
    weights = class_weights("balanced", [str(k) for k in range(len(counts))], counts)
    assert weights is not None
    return list(weights)


def classes_weigh_the_same_together(weigh: Callable[[list[int]], list[float]]) -> None:
    counts = [500, 100, 25]
    shares = np.array(weigh(counts)) * counts
    np.testing.assert_allclose(shares, shares[0])


def test_a_small_class_weighs_more() -> None:
    classes_weigh_the_same_together(our_weights)
    with pytest.raises(AssertionError):
        classes_weigh_the_same_together(notes_weights)
