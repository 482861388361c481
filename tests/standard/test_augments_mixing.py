"""MixUp and CutMix: against torchvision's for one lambda, and their laws for every one of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.augments.mixing import CutMix, MixUp, beta_quantile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import v2

from clsfit.keyed import Key

K = 5


def key(count: int, seed: int = 0) -> Key:
    return Key(seed, 0, np.arange(count), "mix")


def sizes(count: int) -> np.ndarray:
    return np.ones((count, 2), np.int64)


def noise(count: int, high: int = 8, wide: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, high, wide), dtype=torch.uint8, generator=generator)


def both(high: int = 8, wide: int = 6, **options: Any) -> list[Any]:
    return [MixUp(K, **options), CutMix(K, (high, wide), **options)]


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 4.0])
def test_lambda_is_a_beta(alpha: float) -> None:
    share = MixUp(K, alpha).draw(key(3000), sizes(3000))["share"]
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 0.05


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 1e3])
def test_the_quantile_is_symmetric_rising_and_within_0_and_1(alpha: float) -> None:
    u = np.linspace(0, 1, 201)[:-1]
    share = beta_quantile(u, alpha)
    assert ((share >= 0) & (share <= 1)).all()
    assert (np.diff(share) >= 0).all()
    np.testing.assert_allclose(share[1:], 1 - share[1:][::-1], atol=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_p_is_the_probability_of_being_mixed(p: float) -> None:
    for augment in both(p=p, alpha=4.0):
        share = augment.draw(key(4000), sizes(4000))["share"]
        assert abs((share < 1).mean() - p) < 0.03


@pytest.mark.parametrize("share", [0.0, 0.3, 0.85, 1.0])
def test_mixup_equals_torchvision(share: float) -> None:
    """torchvision's partner is the sample before, so its batch is reversed."""
    images, targets = noise(4), torch.tensor([0, 3, 3, 1])
    made, soft = MixUp(K).apply(images, targets, {"share": np.full(4, share)})
    theirs, labels = v2.MixUp(num_classes=K), targets.flip(0)
    params = {"labels": labels, "batch_size": 4, "lam": share}
    pictures = theirs.transform(images.flip(0).float(), params).flip(0)
    hot = theirs.transform(labels, params).flip(0)
    assert made.dtype == torch.uint8
    assert (made.float() - pictures).abs().max() <= 0.5 + 1e-4
    torch.testing.assert_close(soft, hot, rtol=0, atol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, 8, 6), (2, 1, 5, 4), (3, 3, 3, 3), (7, 0, 8, 6)])
def test_cutmix_equals_torchvision(box: tuple[int, int, int, int]) -> None:
    images, targets = noise(4), torch.tensor([0, 3, 3, 1])
    top, left, bottom, right = box
    share = 1 - (bottom - top) * (right - left) / 48
    parameters = {"box": np.tile(np.array(box), (4, 1)), "share": np.full(4, share)}
    made, soft = CutMix(K, (8, 6)).apply(images, targets, parameters)
    theirs, labels = v2.CutMix(num_classes=K), targets.flip(0)
    params = {"labels": labels, "batch_size": 4, "lam_adjusted": share, "box": (left, top, right, bottom)}
    assert torch.equal(made, theirs.transform(images.flip(0), params).flip(0))
    torch.testing.assert_close(soft, theirs.transform(labels, params).flip(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_boxes_are_distributed_as_torchvisions(alpha: float) -> None:
    ours = CutMix(K, (24, 36), alpha).draw(key(3000), sizes(3000))
    torch.manual_seed(0)
    theirs = v2.CutMix(alpha=alpha, num_classes=K)
    params = [theirs.make_params([torch.empty(2, 3, 24, 36)]) for _ in range(3000)]
    at = np.linspace(0.02, 0.98, 25)
    shares = np.array([p["lam_adjusted"] for p in params])
    np.testing.assert_allclose(np.quantile(ours["share"], at), np.quantile(shares, at), atol=0.04)
    boxes = np.array([p["box"] for p in params])[:, [1, 0, 3, 2]]  # theirs has x first
    for edge in range(4):
        np.testing.assert_allclose(np.quantile(ours["box"][:, edge], at), np.quantile(boxes[:, edge], at), atol=2)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    high=st.integers(1, 20),
    wide=st.integers(1, 20),
    alpha=st.floats(0.1, 5),
    count=st.integers(1, 7),
)
def test_cutmix_pastes_the_share_that_it_says(seed: int, high: int, wide: int, alpha: float, count: int) -> None:
    """Samples of one grey level each: the pixels count what is pasted, and the targets agree."""
    levels = torch.arange(count, dtype=torch.uint8)
    images = levels[:, None, None, None].expand(count, 1, high, wide).contiguous()
    augment = CutMix(count, (high, wide), alpha)
    parameters = augment.draw(key(count, seed), sizes(count))
    made, soft = augment.apply(images, torch.arange(count), parameters)
    for i in range(count):
        for j in {i, (i + 1) % count}:
            assert soft[i, j].item() == pytest.approx((made[i] == j).float().mean().item(), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 7), alpha=st.floats(0.05, 5), p=st.floats(0, 1))
def test_targets_are_distributions_even_mixed_twice(seed: int, count: int, alpha: float, p: float) -> None:
    images, targets = noise(count), torch.arange(count) % K
    for first in both(alpha=alpha, p=p):
        for second in both(alpha=alpha, p=p):
            pictures, soft = images.clone(), targets
            for augment, purpose in ((first, "a"), (second, "b")):
                drawn = augment.draw(Key(seed, 0, np.arange(count), purpose), sizes(count))
                pictures, soft = augment.apply(pictures, soft, drawn)
            assert soft.shape == (count, K)
            assert soft.dtype == torch.float32
            assert (soft >= 0).all()
            torch.testing.assert_close(soft.sum(1), torch.ones(count), rtol=0, atol=1e-6)


def test_the_centre_of_a_box_is_uniform_and_its_corners_are_clipped() -> None:
    box = CutMix(K, (10, 20)).draw(key(20000), sizes(20000))["box"]
    small = box[(box[:, 2] - box[:, 0] == 2) & (box[:, 0] > 0) & (box[:, 2] < 10)]  # not clipped above and below
    counts = np.bincount(small[:, 0], minlength=10)[1:8]
    assert counts.min() > 0.75 * counts.mean()
    assert (box >= 0).all()
    assert (box <= np.array([10, 20, 10, 20])).all()
    assert (box[:, 2:] >= box[:, :2]).all()


def test_a_batch_of_one_stays_as_it_is() -> None:
    for augment in both(alpha=4.0):
        images = noise(1)
        made, soft = augment.apply(images.clone(), torch.tensor([2]), augment.draw(key(1), sizes(1)))
        assert torch.equal(made, images)
        torch.testing.assert_close(soft, torch.eye(K)[2:3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_changes_no_bit(layout: torch.memory_format) -> None:
    images, targets = noise(7), torch.arange(7) % K
    for augment in both():
        drawn = augment.draw(key(7), sizes(7))
        plain, _ = augment.apply(images.clone(), targets, drawn)
        other, _ = augment.apply(images.clone().to(memory_format=layout), targets, drawn)
        assert torch.equal(plain, other)


def test_weights_are_mixed_as_the_targets() -> None:
    weights = torch.tensor([1.0, 3.0, 5.0])
    mixed = MixUp(K).weigh(weights, {"share": np.array([1.0, 0.5, 0.25])})
    assert mixed.tolist() == [1.0, 4.0, 0.25 * 5 + 0.75 * 1]


def test_draws_depend_on_position_not_on_the_batch() -> None:
    for augment in both():
        every = augment.draw(key(64), sizes(64))
        part = augment.draw(Key(0, 0, np.arange(10, 30), "mix"), sizes(20))
        for name, values in part.items():
            assert np.array_equal(values, every[name][10:30])
