"""Class weights against scikit-learn, by name, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from clsfit.data.balance import class_weights
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
