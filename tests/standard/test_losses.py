"""Losses against torch and a plain-Python form, and their laws."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.losses import CrossEntropy, Focal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

LOSSES = [CrossEntropy(), Focal(0.0), Focal(0.01), Focal(0.5), Focal(1.0), Focal(2.0), Focal(5.0)]


def ids(loss: torch.nn.Module) -> str:
    return f"{type(loss).__name__}-{getattr(loss, 'gamma', '')}"


def samples(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [16, 5], targets [16], soft targets [16, 5]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 5, generator=generator, dtype=torch.float64) * 3
    targets = torch.randint(5, (16,), generator=generator)
    soft = torch.rand(16, 5, generator=generator, dtype=torch.float64)
    return logits.to(dtype), targets, soft / soft.sum(1, keepdim=True)


def plain_focal(logits: list[float], weights: list[float], gamma: float) -> float:
    """The paper's formula, number by number."""
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    shares = [power / sum(powers) for power in powers]
    return sum(-w * (1 - p) ** gamma * math.log(p) for w, p in zip(weights, shares, strict=True))


def test_cross_entropy_is_torchs() -> None:
    logits, targets, soft = samples(0)
    assert torch.equal(CrossEntropy()(logits, targets), F.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(CrossEntropy()(logits, soft), F.cross_entropy(logits, soft, reduction="none"))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.7])
def test_focal_is_the_papers(gamma: float) -> None:
    logits, targets, soft = samples(1)
    for given_targets, weights in ((targets, F.one_hot(targets, 5).double()), (soft, soft)):
        expected = [plain_focal(row, w, gamma) for row, w in zip(logits.tolist(), weights.tolist(), strict=True)]
        torch.testing.assert_close(
            Focal(gamma)(logits, given_targets), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14
        )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_focal_with_gamma_0_is_cross_entropy(seed: int) -> None:
    logits, targets, soft = samples(seed)
    for chosen in (targets, soft):
        torch.testing.assert_close(Focal(0.0)(logits, chosen), CrossEntropy()(logits, chosen), rtol=1e-12, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), gamma=st.floats(0, 5))
def test_one_hot_soft_targets_are_class_indices(seed: int, gamma: float) -> None:
    logits, targets, _ = samples(seed)
    hot = F.one_hot(targets, 5).double()
    for loss in (CrossEntropy(), Focal(gamma)):
        torch.testing.assert_close(loss(logits, hot), loss(logits, targets), rtol=1e-12, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), low=st.floats(0, 4), more=st.floats(0, 4))
def test_more_gamma_is_less_loss(seed: int, low: float, more: float) -> None:
    logits, targets, _ = samples(seed)
    assert (Focal(low + more)(logits, targets) <= Focal(low)(logits, targets) + 1e-12).all()


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("height", [1.0, 8.0, 17.0, 20.0, 104.0, 1e3, 6e4])
@pytest.mark.parametrize("soft", [False, True])
def test_finite_at_both_ends(loss: torch.nn.Module, dtype: torch.dtype, height: float, soft: bool) -> None:
    """Rows that are right, wrong and undecided with certainty."""
    logits = torch.tensor([[height, -height, -height], [-height, height, -height], [height, height, height]])
    logits = logits.to(dtype).requires_grad_()
    targets = torch.zeros(3, dtype=torch.int64)
    values = loss(logits, F.one_hot(targets, 3).to(dtype) if soft else targets)
    values.mean().backward()
    assert values.shape == (3,)
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert values.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (values >= 0).all()
    assert values[1] >= height  # p = 0: as large as the distance says, not cut off
    if height >= 1e3:
        assert values[0] == 0
        assert (logits.grad[0] == 0).all()


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
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


def test_losses_take_soft_targets_and_no_nan_hides() -> None:
    for loss in LOSSES:
        assert loss.soft_targets is True
        assert loss(torch.tensor([[float("nan"), 0.0]]), torch.tensor([1])).isnan().all()
