"""The course notes' losses: each of their bugs as a law.

A test writes the notes' formula down, states what must hold once, as ``law(implementation)``, and
asserts that it holds for clsfit's loss and is red on the notes' formula: so every test shows itself red.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal
from clsfit_standard.losses.label_smoothing import LabelSmoothing
from clsfit_standard.losses.soft_f1 import SoftF1
from torch import Tensor

from clsfit.engine.infer import loss_sum
from clsfit.pipeline.loader import Batch

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(logits [B, K], targets) -> [B] or scalar``."""


def notes_cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=1), targets, weight)


def notes_focal(logits: Tensor, targets: Tensor, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    log_p = F.log_softmax(logits, dim=1)
    return F.nll_loss((1 - torch.exp(log_p)) ** gamma * log_p, targets, weight)


def notes_label_smoothing(logits: Tensor, targets: Tensor, smoothing: float = 0.0, classes: int = 3) -> Tensor:
    log_p = F.log_softmax(logits, dim=1)
    with torch.no_grad():
        spread = torch.zeros_like(log_p).fill_(smoothing / (classes - 1))
        spread.scatter_(1, targets[:, None], 1 - smoothing)
    return torch.mean(torch.sum(-spread * log_p, dim=1))


def notes_f1(logits: Tensor, targets: Tensor, classes: int = 3, epsilon: float = 1e-7) -> Tensor:
    truth = F.one_hot(targets, classes).to(torch.float32)
    p = F.softmax(logits, dim=1)
    hits = (truth * p).sum(dim=0)
    false = ((1 - truth) * p).sum(dim=0)
    missed = (truth * (1 - p)).sum(dim=0)
    precision = hits / (hits + false + epsilon)
    recall = hits / (hits + missed + epsilon)
    f1 = 2 * precision * recall / (precision + recall + epsilon)
    return 1 - f1.clamp(min=epsilon, max=1 - epsilon).mean()


def logits_and_targets(samples: int = 8, classes: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, classes, generator=generator) * 2, torch.arange(samples) % classes


def certain(targets: Tensor, classes: int) -> Tensor:
    """Logits of which the softmax is 1 on the target and 0 elsewhere."""
    return (F.one_hot(targets, classes).float() * 2 - 1) * 1e3


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.99])
def test_focal_has_a_gradient_at_probability_1(gamma: float) -> None:
    def law(implementation: Loss) -> None:
        logits = certain(torch.arange(3), 3).requires_grad_()
        implementation(logits, torch.arange(3)).mean().backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    law(Focal(gamma))
    with pytest.raises(AssertionError):
        law(partial(notes_focal, gamma=gamma))


def test_focal_is_cross_entropy_at_gamma_0_not_at_1() -> None:
    """The notes say that gamma 1 is cross entropy."""

    def law(at_gamma: Callable[[float], Loss], neutral: float) -> None:
        logits, targets = logits_and_targets()
        torch.testing.assert_close(at_gamma(neutral)(logits, targets).mean(), F.cross_entropy(logits, targets))

    law(Focal, 0.0)
    for implementation in (Focal, lambda gamma: partial(notes_focal, gamma=gamma)):
        with pytest.raises(AssertionError):
            law(implementation, 1.0)


@pytest.mark.parametrize(("loss", "notes"), [(CrossEntropy(), notes_cross_entropy), (Focal(), notes_focal)])
def test_a_weighted_mean_is_over_samples(loss: Loss, notes: Callable[..., Tensor]) -> None:
    """The notes divide by the sum of the weights: micro-batches then do not add up to their batch, and a
    batch of one class does not know its weight."""
    weight = torch.tensor([5.0, 0.5, 1.0])

    def ours(logits: Tensor, targets: Tensor) -> Tensor:
        rows = np.arange(len(targets))
        batch = Batch(images=logits, targets=targets, weights=weight[targets], rows=rows, errors={})
        return loss_sum(loss(logits, targets), batch) / len(targets)

    def micro_batches(implementation: Loss) -> None:
        logits, _ = logits_and_targets(8, 3)
        targets = torch.tensor([0, 0, 1, 1, 1, 2, 2, 1])
        parts = [(logits[:2], targets[:2]), (logits[2:], targets[2:])]
        added = sum(len(t) * implementation(z, t) for z, t in parts) / len(targets)
        torch.testing.assert_close(added, implementation(logits, targets))

    def one_class(implementation: Loss) -> None:
        logits, _ = logits_and_targets(8, 3)
        rare = implementation(logits, torch.zeros(8, dtype=torch.int64))
        common = implementation(logits.roll(1, 1), torch.ones(8, dtype=torch.int64))
        torch.testing.assert_close(rare / common, weight[0] / weight[1])

    for law in (micro_batches, one_class):
        law(ours)
        with pytest.raises(AssertionError):
            law(partial(notes, weight=weight))


@pytest.mark.parametrize(("loss", "notes"), [(CrossEntropy(), notes_cross_entropy), (Focal(), notes_focal)])
def test_soft_targets_are_taken(loss: Loss, notes: Loss) -> None:
    def law(implementation: Loss) -> None:
        logits, targets = logits_and_targets()
        mixed = 0.3 * F.one_hot(targets, 10).float() + 0.7 * F.one_hot(targets.flip(0), 10).float()
        assert implementation(logits, mixed).mean().isfinite()

    law(loss)
    with pytest.raises(RuntimeError):
        law(notes)


def smoothed_targets(implementation: Loss, targets: Tensor, classes: int) -> Tensor:
    """[B, K]: the distributions that a cross entropy compares with, read from its loss and its gradient.

    With equal logits the loss is log(K) times the sum of the target, and the gradient that sum / K
    less the target.
    """
    rows = []
    for target in targets:
        logits = torch.zeros(1, classes, requires_grad=True)
        value = implementation(logits, target[None]).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        rows.append(value.detach() / math.log(classes) / classes - gradient[0])
    return torch.stack(rows)


def test_smoothed_targets_sum_to_1() -> None:
    """On 10 classes the notes' sum to 1.35, because they take the number of classes to be 3."""

    def law(implementation: Loss) -> None:
        sums = smoothed_targets(implementation, torch.arange(10), 10).sum(1)
        torch.testing.assert_close(sums, torch.ones(10))

    law(LabelSmoothing(0.1))
    notes = partial(notes_label_smoothing, smoothing=0.1)
    with pytest.raises(AssertionError):
        law(notes)
    torch.testing.assert_close(smoothed_targets(notes, torch.arange(10), 10).sum(1), torch.full((10,), 1.35))


def test_smoothing_spreads_over_all_classes() -> None:
    """Szegedy's share is smoothing / K, also for the right class; the notes' is smoothing / (K - 1) for the others."""

    def law(implementation: Loss) -> None:
        logits, targets = logits_and_targets()
        expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
        torch.testing.assert_close(implementation(logits, targets).mean(), expected)

    law(LabelSmoothing(0.1))
    with pytest.raises(AssertionError):
        law(partial(notes_label_smoothing, smoothing=0.1, classes=10))
    law(partial(notes_label_smoothing, smoothing=0.1 * 9 / 10, classes=10))  # the same loss under another number


def test_smoothing_smooths_unless_told_otherwise() -> None:
    """The notes' default is 0: a loss of that name which does not smooth."""

    def law(implementation: Loss) -> None:
        logits, targets = logits_and_targets(classes=3, samples=3)
        assert not torch.isclose(implementation(logits, targets).mean(), F.cross_entropy(logits, targets))

    law(LabelSmoothing())
    with pytest.raises(AssertionError):
        law(notes_label_smoothing)


notes_f1_of_10 = partial(notes_f1, classes=10)


def test_f1_of_perfect_predictions_costs_nothing() -> None:
    """Of 2 classes out of 10: the notes count the 8 absent ones as missed."""

    def law(implementation: Loss) -> None:
        targets = torch.tensor([4, 7, 7, 4])
        assert implementation(certain(targets, 10), targets).item() == pytest.approx(0.0, abs=1e-6)

    law(SoftF1())
    with pytest.raises(AssertionError):
        law(notes_f1_of_10)
    targets = torch.tensor([4, 7, 7, 4])
    assert notes_f1_of_10(certain(targets, 10), targets).item() == pytest.approx(0.8, abs=1e-6)


def test_f1_is_the_same_however_many_classes_are_absent() -> None:
    def law(implementation: Callable[[int], Loss]) -> None:
        logits, targets = logits_and_targets(6, 3)
        wide = F.pad(logits, (0, 7), value=-1e3)  # seven classes that nobody has or predicts
        torch.testing.assert_close(implementation(10)(wide, targets), implementation(3)(logits, targets))

    law(lambda _: SoftF1())
    with pytest.raises(AssertionError):
        law(lambda classes: partial(notes_f1, classes=classes))


def test_f1_counts_its_classes_itself() -> None:
    def law(implementation: Loss) -> None:
        logits, targets = logits_and_targets()
        assert implementation(logits, targets).isfinite()

    law(SoftF1())
    with pytest.raises(RuntimeError):
        law(notes_f1)


def test_f1_pulls_at_a_class_that_is_missed_altogether() -> None:
    """The notes clamp the F1 of each class, and a clamp lets no gradient through."""

    def law(implementation: Loss) -> None:
        logits = torch.zeros(4, 10)
        logits[:, 0] = 19.0  # every other class has a probability of 6e-9
        (gradient,) = torch.autograd.grad(
            implementation(logits.requires_grad_(), torch.ones(4, dtype=torch.int64)), logits
        )
        assert (gradient[:, 1] < 0).all()

    law(SoftF1())
    with pytest.raises(AssertionError):
        law(notes_f1_of_10)
