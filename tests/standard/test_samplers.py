"""The order of an epoch: a permutation that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np
from clsfit_standard.samplers import Shuffle
from hypothesis import given
from hypothesis import strategies as st


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), count=st.integers(0, 300))
def test_every_position_once_and_always_the_same(seed: int, epoch: int, count: int) -> None:
    targets = np.zeros(count, dtype=np.int64)
    order = Shuffle(seed).order(epoch, targets)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))
    again = Shuffle(seed)
    again.order(epoch + 1, targets)
    assert np.array_equal(again.order(epoch, targets), order)


def test_seed_and_epoch_change_the_order() -> None:
    targets = np.zeros(100, dtype=np.int64)
    orders = {tuple(Shuffle(seed).order(epoch, targets)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_pinned() -> None:
    """The same on every machine and version: a run can be repeated."""
    assert Shuffle(0).order(0, np.zeros(8, dtype=np.int64)).tolist() == [1, 2, 3, 0, 6, 4, 5, 7]
