"""Class weights against scikit-learn, by name, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from clsfit.data.balance import class_weights, effective_numbers
from clsfit.errors import ConfigError

CLASSES = ("ants", "bees", "flies")


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 5000), min_size=2, max_size=30).filter(any))
def test_balanced_is_scikit_learns(counts: list[int]) -> None:
    names = [str(k) for k in range(len(counts))]
    weights = class_weights("balanced", names, counts)
    assert weights is not None
    present = [k for k, count in enumerate(counts) if count]
    targets = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_allclose(
        weights[present], compute_class_weight("balanced", classes=np.array(present), y=targets), rtol=1e-15
    )
    assert np.dot(weights, counts) == pytest.approx(sum(counts))
    assert all(weights[k] == 1 for k in range(len(counts)) if not counts[k])


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 5000), min_size=2, max_size=30).filter(any))
def test_effective_and_sqrt_are_their_formulas_with_a_mean_of_1(counts: list[int]) -> None:
    names = [str(k) for k in range(len(counts))]
    sizes: dict[Any, Callable[[int], float]] = {
        "effective": lambda n: math.fsum(0.999**i for i in range(n)),
        "sqrt": math.sqrt,
    }
    for wish, size in sizes.items():
        weights = class_weights(wish, names, counts)
        assert weights is not None
        products = [w * size(n) for w, n in zip(weights, counts, strict=True) if n]
        np.testing.assert_allclose(products, products[0], rtol=1e-9)
        assert np.dot(weights, counts) == pytest.approx(sum(counts))
        assert all(weights[k] == 1 for k in range(len(counts)) if not counts[k])


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 3000), beta=st.sampled_from([0.0, 0.5, 0.9, 0.999, 0.9999, 1 - 1e-12]))
def test_effective_numbers_are_the_papers_sum(count: int, beta: float) -> None:
    assert effective_numbers([count], beta)[0] == pytest.approx(math.fsum(beta**i for i in range(count)), rel=1e-9)


def test_by_name_others_weigh_1() -> None:
    weights = class_weights({"flies": 2.5, "ants": 0}, CLASSES, (3, 4, 5))
    assert weights is not None
    assert weights.tolist() == [0, 1, 2.5]
    assert class_weights(None, CLASSES, (3, 4, 5)) is None


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"bee": 1}, "Did you mean 'bees'"),
        ({"x": 1}, "its classes: ants, bees, flies"),
        ({"ants": math.inf}, "not finite"),
        ({"ants": 0, "bees": 0}, "no training picture has a weight above 0"),
    ],
)
def test_refused(wish: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        class_weights(wish, CLASSES, (3, 4, 0))
    assert said in str(caught.value)
    assert "--loss.class_weights" in str(caught.value)
