"""Losses by the numbers of pictures per class, against the papers' formulas number by number, and their laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal
from clsfit_standard.losses.imbalance import LDAM, BalancedSoftmax, ClassBalanced, LogitAdjusted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

COUNTS = (500, 120, 30, 7, 1)
SOFT = (ClassBalanced, LogitAdjusted, BalancedSoftmax)
BUILDERS = (*SOFT, LDAM)
Counts = st.lists(st.integers(1, 100_000), min_size=5, max_size=5)


def samples(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [16, 5] float64, targets [16], soft targets [16, 5]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 5, generator=generator, dtype=torch.float64) * 3
    soft = torch.rand(16, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (16,), generator=generator), soft / soft.sum(1, keepdim=True)


def plain_softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    return [power / sum(powers) for power in powers]


def plain_weights(counts: tuple[int, ...], beta: float) -> list[float]:
    """One over the effective numbers, summed up term by term, scaled to sum to K."""
    numbers = [sum(beta**i for i in range(n)) for n in counts]
    total = sum(1 / number for number in numbers)
    return [len(counts) / number / total for number in numbers]


def plain_class_balanced(logits: list[float], weights: list[float], beta: float, gamma: float) -> float:
    shares, by_class = plain_softmax(logits), plain_weights(COUNTS, beta)
    return sum(-t * w * (1 - p) ** gamma * math.log(p) for t, w, p in zip(weights, by_class, shares, strict=True))


def plain_adjusted(logits: list[float], weights: list[float], tau: float) -> float:
    """With the classes' shares to the power of tau in the softmax."""
    powers = [math.exp(z) * (n / sum(COUNTS)) ** tau for z, n in zip(logits, COUNTS, strict=True)]
    return sum(-t * math.log(power / sum(powers)) for t, power in zip(weights, powers, strict=True))


def plain_ldam(logits: list[float], target: int, max_margin: float, scale: float) -> float:
    margins = [n**-0.25 for n in COUNTS]
    margin = margins[target] * max_margin / max(margins)
    lowered = [scale * (z - margin * (k == target)) for k, z in enumerate(logits)]
    return -math.log(plain_softmax(lowered)[target])


def assert_plain(loss: torch.nn.Module, seed: int, plain: Callable[[list[float], list[float]], float]) -> None:
    """Every sample's loss is ``plain``'s, for class indices and for soft targets."""
    logits, targets, soft = samples(seed)
    for chosen, weights in ((targets, F.one_hot(targets, 5).double()), (soft, soft)):
        expected = [plain(row, w) for row, w in zip(logits.tolist(), weights.tolist(), strict=True)]
        torch.testing.assert_close(
            loss(logits, chosen), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_class_balanced_is_the_papers(beta: float, gamma: float) -> None:
    assert_plain(ClassBalanced(COUNTS, beta, gamma), 1, lambda row, w: plain_class_balanced(row, w, beta, gamma))


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjusted_is_the_papers(tau: float) -> None:
    assert_plain(LogitAdjusted(COUNTS, tau), 2, lambda row, w: plain_adjusted(row, w, tau))


def test_balanced_softmax_is_the_papers() -> None:
    assert_plain(BalancedSoftmax(COUNTS), 3, lambda row, w: plain_adjusted(row, w, 1.0))


@pytest.mark.parametrize("max_margin", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_ldam_is_the_papers(max_margin: float, scale: float) -> None:
    logits, targets, _ = samples(4)
    expected = [
        plain_ldam(row, target, max_margin, scale)
        for row, target in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    found = LDAM(COUNTS, max_margin, scale)(logits, targets)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_ldam_weighs_late_in_training_and_never_in_validation() -> None:
    logits, targets, _ = samples(5)
    loss = LDAM(COUNTS, reweight_after=0.8, beta=0.999)
    plain = loss(logits, targets)
    weights = torch.tensor(plain_weights(COUNTS, 0.999), dtype=torch.float64)
    memory = loss.weights.data_ptr()
    for epoch, weighted in ((0, False), (7, False), (8, True), (9, True), (3, False)):
        loss.begin_epoch(epoch, 10)
        expected = plain * weights[targets] if weighted else plain
        torch.testing.assert_close(loss.train()(logits, targets), expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(loss.eval()(logits, targets), plain)
    assert loss.weights.data_ptr() == memory  # a CUDA graph reads it
    never = LDAM(COUNTS, reweight_after=1.0)
    never.begin_epoch(9, 10)
    assert torch.equal(never.train()(logits, targets), plain)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), counts=Counts)
def test_what_is_cross_entropy_and_what_is_focal(seed: int, counts: list[int]) -> None:
    """Without weights, adjustment or margin, and where all classes have as many pictures."""
    logits, targets, soft = samples(seed)
    same = [counts[0]] * 5
    for chosen in (targets, soft):
        expected = CrossEntropy()(logits, chosen)
        for loss in (
            ClassBalanced(counts, beta=0.0), ClassBalanced(same), LogitAdjusted(counts, tau=0.0),
            LogitAdjusted(same), BalancedSoftmax(same),
        ):  # fmt: skip
            torch.testing.assert_close(loss(logits, chosen), expected, rtol=1e-6, atol=1e-7)
        focal = ClassBalanced(counts, beta=0.0, gamma=2.0)
        torch.testing.assert_close(focal(logits, chosen), Focal(2.0)(logits, chosen), rtol=1e-6, atol=1e-7)
    expected = CrossEntropy()(logits, targets)
    torch.testing.assert_close(LDAM(counts, max_margin=0.0)(logits, targets), expected, rtol=1e-6, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), counts=Counts)
def test_balanced_softmax_is_logit_adjusted_and_so_are_its_best_logits(seed: int, counts: list[int]) -> None:
    """The logits that an adjusted loss is content with, those of the posterior over the priors, give no gradient."""
    logits, targets, soft = samples(seed)
    for chosen in (targets, soft):
        assert torch.equal(BalancedSoftmax(counts)(logits, chosen), LogitAdjusted(counts)(logits, chosen))
    priors = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    best = (soft / priors).log().requires_grad_()
    LogitAdjusted(counts)(best, soft).sum().backward()
    assert best.grad is not None
    torch.testing.assert_close(best.grad, torch.zeros_like(best), rtol=0, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), counts=Counts)
def test_one_hot_soft_targets_are_class_indices(seed: int, counts: list[int]) -> None:
    logits, targets, _ = samples(seed)
    hot = F.one_hot(targets, 5).double()
    for loss in (ClassBalanced(counts, gamma=1.5), LogitAdjusted(counts), BalancedSoftmax(counts)):
        torch.testing.assert_close(loss(logits, hot), loss(logits, targets), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("build", "soft"), [*((b, False) for b in BUILDERS), *((b, True) for b in SOFT)])
@pytest.mark.parametrize("counts", [(10**7, 10, 1), (5, 0, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("height", [1.0, 17.0, 104.0, 1e4, 6e4])
def test_finite_at_both_ends(
    build: Callable[..., torch.nn.Module], counts: Any, dtype: torch.dtype, height: float, soft: bool
) -> None:
    """Rows that are right, wrong and undecided with certainty; also of classes without a training picture."""
    loss = build(class_counts=counts)
    for target in range(3):
        logits = torch.tensor([[height, -height, -height], [-height, height, -height], [height, height, height]])
        logits = logits.to(dtype).requires_grad_()
        targets = torch.full((3,), target)
        values = loss(logits, F.one_hot(targets, 3).to(dtype) if soft else targets)
        values.mean().backward()
        assert values.shape == (3,)
        assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("build", BUILDERS)
def test_nothing_of_them_is_saved_or_trained(build: Callable[..., torch.nn.Module]) -> None:
    """What they hold follows from the configuration."""
    loss = build(class_counts=COUNTS)
    assert not loss.state_dict()
    assert not list(loss.parameters())
