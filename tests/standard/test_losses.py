"""Losses against torch and a plain-Python form, and their laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal
from clsfit_standard.losses.label_smoothing import LabelSmoothing
from clsfit_standard.losses.mse import MSE
from clsfit_standard.losses.soft_f1 import SoftF1
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

CROSS_ENTROPIES = [
    pytest.param(CrossEntropy(), id="cross_entropy"),
    *(pytest.param(Focal(gamma), id=f"focal-{gamma}") for gamma in (0.0, 0.01, 0.5, 1.0, 2.0, 5.0)),
    *(pytest.param(LabelSmoothing(smoothing), id=f"label_smoothing-{smoothing}") for smoothing in (0.0, 0.1, 0.9)),
]
PER_SAMPLE = [*CROSS_ENTROPIES, pytest.param(MSE(), id="mse")]
SOFT_F1 = [pytest.param(SoftF1(share), id=f"soft_f1-{share}") for share in (0.0, 0.3, 1.0)]
LOSSES = [*PER_SAMPLE, *SOFT_F1]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]

Rows = list[list[float]]


def samples(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [16, 5], targets [16], soft targets [16, 5]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 5, generator=generator, dtype=torch.float64) * 3
    targets = torch.randint(5, (16,), generator=generator)
    soft = torch.rand(16, 5, generator=generator, dtype=torch.float64)
    return logits.to(dtype), targets, soft / soft.sum(1, keepdim=True)


def plain_softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    return [power / sum(powers) for power in powers]


def plain_focal(logits: list[float], weights: list[float], gamma: float) -> float:
    """The paper's formula, number by number."""
    return sum(-w * (1 - p) ** gamma * math.log(p) for w, p in zip(weights, plain_softmax(logits), strict=True))


def plain_smoothed(logits: list[float], weights: list[float], smoothing: float) -> float:
    """The paper's formula: cross entropy against the mixture of target and uniform distribution."""
    mixed = [(1 - smoothing) * w + smoothing / len(weights) for w in weights]
    return plain_focal(logits, mixed, 0.0)


def plain_mse(logits: list[float], weights: list[float]) -> float:
    return sum((p - w) ** 2 for w, p in zip(weights, plain_softmax(logits), strict=True))


def plain_soft_f1(logits: Rows, weights: Rows, share: float) -> float:
    """Counts with probabilities, class by class."""
    shares = [plain_softmax(row) for row in logits]
    lost = []
    for c in range(len(logits[0])):
        support = sum(row[c] for row in weights)
        if support > 0:
            hits = sum(p[c] * w[c] for p, w in zip(shares, weights, strict=True))
            lost.append(1 - 2 * hits / (sum(p[c] for p in shares) + support))
    entropy = sum(plain_focal(row, w, 0.0) for row, w in zip(logits, weights, strict=True)) / len(logits)
    return (1 - share) * sum(lost) / len(lost) + share * entropy


def assert_plain(loss: torch.nn.Module, seed: int, plain: Callable[[list[float], list[float]], float]) -> None:
    """Every sample's loss is ``plain``'s, for class indices and for soft targets."""
    logits, targets, soft = samples(seed)
    for chosen, weights in ((targets, F.one_hot(targets, 5).double()), (soft, soft)):
        expected = [plain(row, w) for row, w in zip(logits.tolist(), weights.tolist(), strict=True)]
        found = loss(logits, chosen)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_cross_entropy_is_torchs() -> None:
    logits, targets, soft = samples(0)
    assert torch.equal(CrossEntropy()(logits, targets), F.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(CrossEntropy()(logits, soft), F.cross_entropy(logits, soft, reduction="none"))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.7])
def test_focal_is_the_papers(gamma: float) -> None:
    assert_plain(Focal(gamma), 1, lambda row, w: plain_focal(row, w, gamma))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.99])
def test_label_smoothing_is_the_papers_and_torchs(smoothing: float) -> None:
    assert_plain(LabelSmoothing(smoothing), 2, lambda row, w: plain_smoothed(row, w, smoothing))
    logits, targets, soft = samples(2)
    for chosen in (targets, soft):
        expected = F.cross_entropy(logits, chosen, reduction="none", label_smoothing=smoothing)
        assert torch.equal(LabelSmoothing(smoothing)(logits, chosen), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mse_is_plain_pythons_and_stays_between_0_and_2(seed: int) -> None:
    assert_plain(MSE(), seed, plain_mse)
    logits, targets, _ = samples(seed)
    assert ((MSE()(logits * 100, targets) >= 0) & (MSE()(logits * 100, targets) <= 2)).all()


def test_mse_at_its_ends() -> None:
    logits = torch.tensor([[1e4, -1e4, -1e4]])
    assert [MSE()(logits, torch.tensor([c])).item() for c in (0, 1)] == [0.0, 2.0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.3, 1.0]), classes=st.integers(1, 5))
def test_soft_f1_is_plain_pythons(seed: int, share: float, classes: int) -> None:
    """Also where classes are absent from the batch."""
    logits, targets, soft = samples(seed)
    targets = targets % classes
    for chosen, weights in ((targets, F.one_hot(targets, 5).double()), (soft, soft)):
        expected = plain_soft_f1(logits.tolist(), weights.tolist(), share)
        assert SoftF1(share)(logits, chosen).item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), classes=st.integers(1, 5), scale=st.floats(0, 100))
def test_soft_f1_lies_in_0_to_1_and_keeps_no_order(seed: int, classes: int, scale: float) -> None:
    logits, targets, soft = samples(seed)
    logits, targets = logits * scale, targets % classes
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(16, generator=generator), torch.randperm(5, generator=generator)
    for chosen in (F.one_hot(targets, 5).double(), soft):
        value = SoftF1()(logits, chosen)
        assert 0 <= value <= 1
        assert torch.isclose(SoftF1()(logits[rows], chosen[rows]), value, rtol=1e-12)
        assert torch.isclose(SoftF1()(logits[:, columns], chosen[:, columns]), value, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), classes=st.integers(1, 5))
def test_soft_f1_is_0_for_perfect_and_1_for_all_wrong_predictions(seed: int, classes: int) -> None:
    """Wrong: each sample takes another class for certain, though one that other samples may have."""
    _, targets, _ = samples(seed)
    targets = targets % classes
    for turned, expected in ((0, 0.0), (1, 1.0)):
        logits = (F.one_hot((targets + turned) % 5, 5) * 2 - 1) * 1e4
        assert SoftF1()(logits, targets).item() == expected


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), classes=st.integers(1, 5))
def test_soft_f1_moves_every_class_that_is_present(seed: int, classes: int) -> None:
    """Each sample's logit of its own class is pulled up."""
    logits, targets, _ = samples(seed)
    targets = targets % classes
    (gradient,) = torch.autograd.grad(SoftF1()(logits.requires_grad_(), targets), logits)
    assert (gradient.gather(1, targets[:, None]) < 0).all()


@pytest.mark.parametrize("height", [1.0, 1e4])
def test_soft_f1_is_finite_where_a_class_is_neither_there_nor_predicted(height: float) -> None:
    targets = torch.tensor([0, 1, 0])
    logits = ((F.one_hot(targets, 4).float() * 2 - 1) * height).requires_grad_()
    SoftF1()(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_soft_f1_counts_over_the_batch() -> None:
    """No mean of samples' values, and said so."""
    logits, targets, _ = samples(4)
    assert SoftF1.batchwise is True
    halves = (SoftF1()(logits[:8], targets[:8]) + SoftF1()(logits[8:], targets[8:])) / 2
    assert not torch.isclose(SoftF1()(logits, targets), halves, rtol=1e-3)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_cross_entropy(seed: int) -> None:
    """Focal with gamma 0, smoothing 0, and soft F1 with a share of 1."""
    logits, targets, soft = samples(seed)
    for chosen in (targets, soft):
        expected = CrossEntropy()(logits, chosen)
        torch.testing.assert_close(Focal(0.0)(logits, chosen), expected, rtol=1e-12, atol=1e-14)
        assert torch.equal(LabelSmoothing(0.0)(logits, chosen), expected)
        assert torch.equal(SoftF1(1.0)(logits, chosen), expected.mean())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), gamma=st.floats(0, 5), smoothing=st.floats(0, 0.99), share=st.floats(0, 1))
def test_one_hot_soft_targets_are_class_indices(seed: int, gamma: float, smoothing: float, share: float) -> None:
    logits, targets, _ = samples(seed)
    hot = F.one_hot(targets, 5).double()
    for loss in (CrossEntropy(), Focal(gamma), LabelSmoothing(smoothing), MSE(), SoftF1(share)):
        torch.testing.assert_close(loss(logits, hot), loss(logits, targets), rtol=1e-12, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), low=st.floats(0, 4), more=st.floats(0, 4))
def test_more_gamma_is_less_loss(seed: int, low: float, more: float) -> None:
    logits, targets, _ = samples(seed)
    assert (Focal(low + more)(logits, targets) <= Focal(low)(logits, targets) + 1e-12).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("height", [1.0, 8.0, 17.0, 20.0, 104.0, 1e3, 1e4, 6e4])
@pytest.mark.parametrize("soft", [False, True])
def test_finite_at_both_ends(loss: torch.nn.Module, dtype: torch.dtype, height: float, soft: bool) -> None:
    """Rows that are right, wrong and undecided with certainty."""
    logits = torch.tensor([[height, -height, -height], [-height, height, -height], [height, height, height]])
    logits = logits.to(dtype).requires_grad_()
    targets = torch.zeros(3, dtype=torch.int64)
    values = loss(logits, F.one_hot(targets, 3).to(dtype) if soft else targets)
    values.mean().backward()
    assert values.shape == (() if isinstance(loss, SoftF1) else (3,))
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert values.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (values >= 0).all()


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("height", [1e3, 6e4])
def test_certainty_costs_what_it_is_worth(loss: torch.nn.Module, dtype: torch.dtype, height: float) -> None:
    """p = 0 costs as much as the distance says, not cut off; p = 1 costs nothing but what was smoothed away."""
    smoothing = getattr(loss, "smoothing", 0.0)
    logits = torch.tensor([[height, -height, -height], [-height, height, -height]]).to(dtype).requires_grad_()
    right, wrong = loss(logits, torch.zeros(2, dtype=torch.int64))
    distance = 2 * logits[0, 0].item()
    assert right.item() == pytest.approx(distance * smoothing * 2 / 3, rel=1e-6)
    assert wrong.item() == pytest.approx(distance * (1 - smoothing * 1 / 3), rel=1e-6)
    right.backward()
    assert logits.grad is not None
    assert (logits.grad[0] == 0).all() or smoothing


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(loss: torch.nn.Module, dtype: torch.dtype) -> None:
    logits, targets, _ = samples(5, dtype)
    assert torch.equal(loss(logits, targets), loss(logits.float(), targets))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("soft", [False, True])
def test_gradient_in_float64(loss: torch.nn.Module, soft: bool) -> None:
    logits, targets, spread = samples(3)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, spread if soft else targets), (logits,))


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.9])
def test_gradient_near_certainty_goes_to_0(gamma: float) -> None:
    """The derivative by the margin m, from p = 1 / (1 + exp(-m)): it must fade, not jump."""
    margins = torch.linspace(5, 120, 200, dtype=torch.float32)
    logits = torch.stack((margins, torch.zeros_like(margins)), 1).requires_grad_()
    Focal(gamma)(logits, torch.zeros(200, dtype=torch.int64)).sum().backward()
    assert logits.grad is not None
    m = margins.double()
    miss, p = torch.sigmoid(-m), torch.sigmoid(m)
    expected = p * miss**gamma * gamma * F.logsigmoid(m) - miss ** (gamma + 1)
    torch.testing.assert_close(logits.grad[:, 0].double(), expected, rtol=0.2, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_take_soft_targets_and_no_nan_hides(loss: torch.nn.Module) -> None:
    assert loss.soft_targets is True
    assert loss(torch.tensor([[float("nan"), 0.0]]), torch.tensor([1])).isnan().all()
