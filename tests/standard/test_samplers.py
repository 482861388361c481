"""The order of an epoch: a function of seed, epoch and targets alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from clsfit_standard.samplers import Balanced, Shuffle
from hypothesis import given, settings
from hypothesis import strategies as st

BOTH = pytest.mark.parametrize("build", [Shuffle, Balanced])


def unbalanced(counts: list[int], seed: int = 0) -> npt.NDArray[np.int64]:
    """Targets with ``counts`` pictures of the classes 0, 2, 4, ..., in no order: odd classes are empty."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 2, counts)).astype(np.int64)


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), count=st.integers(0, 300))
def test_every_position_once(seed: int, epoch: int, count: int) -> None:
    order = Shuffle(seed).order(epoch, np.zeros(count, dtype=np.int64))
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))


@BOTH
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), counts=st.lists(st.integers(1, 30), max_size=6))
def test_always_the_same(build: Any, seed: int, epoch: int, counts: list[int]) -> None:
    targets = unbalanced(counts)
    order = build(seed).order(epoch, targets)
    assert order.dtype == np.int64
    assert order.shape == targets.shape
    again = build(seed)
    again.order(epoch + 1, targets)
    assert np.array_equal(again.order(epoch, targets), order)


@BOTH
def test_seed_and_epoch_change_the_order(build: Any) -> None:
    targets = unbalanced([60, 30, 10])
    orders = {tuple(build(seed).order(epoch, targets)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 25), min_size=1, max_size=7),
    seed=st.integers(0, 2**31),
    begin=st.sampled_from([0, 1, 12345]),
)
def test_balanced_gives_every_class_the_same(counts: list[int], seed: int, begin: int) -> None:
    """In every epoch up to one picture, and over any K epochs in a row exactly."""
    targets, classes = unbalanced(counts, seed), len(counts)
    total = np.zeros(classes, dtype=np.int64)
    for epoch in range(begin, begin + classes):
        seen = np.bincount(targets[Balanced(seed).order(epoch, targets)] // 2, minlength=classes)
        assert seen.sum() == len(targets)
        assert set(seen) <= {len(targets) // classes, -(-len(targets) // classes)}
        total += seen
    assert set(total) == {len(targets)}


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 25), min_size=1, max_size=7), seed=st.integers(0, 2**31))
def test_balanced_deals_every_picture_of_a_class_equally_often(counts: list[int], seed: int) -> None:
    """At the end of every epoch, counted from the first."""
    targets = unbalanced(counts, seed)
    seen = np.zeros(len(targets), dtype=np.int64)
    for epoch in range(10):
        seen += np.bincount(Balanced(seed).order(epoch, targets), minlength=len(targets))
        for chosen in np.unique(targets):
            assert np.ptp(seen[targets == chosen]) <= 1


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=7),
    seed=st.integers(0, 2**31),
    temperature=st.floats(1, 50),
    begin=st.sampled_from([0, 1, 12345]),
)
def test_a_temperature_gives_shares_between_those_that_there_are_and_equal_ones(
    counts: list[int], seed: int, temperature: float, begin: int
) -> None:
    """Of n pictures n**(1/T), to less than two in an epoch; every picture of a class equally often."""
    targets, classes = unbalanced(counts, seed), len(counts)
    sampler = Balanced(seed, temperature)
    powers = np.array(counts) ** (1 / temperature)
    wanted = len(targets) * powers / powers.sum()
    for epoch in range(begin, begin + 4):
        order = sampler.order(epoch, targets)
        seen = np.bincount(targets[order] // 2, minlength=classes)
        assert seen.sum() == len(targets)
        assert (np.abs(seen - wanted) < 2).all()
    often = np.zeros(len(targets), dtype=np.int64)
    for epoch in range(6):
        often += np.bincount(sampler.order(epoch, targets), minlength=len(targets))
        for chosen in np.unique(targets):
            assert np.ptp(often[targets == chosen]) <= 1
    assert (np.abs(np.bincount(targets // 2, often, classes) - 6 * wanted) < 1).all()


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=7), seed=st.integers(0, 2**31))
def test_a_temperature_of_1_leaves_the_shares_as_they_are(counts: list[int], seed: int) -> None:
    targets = unbalanced(counts, seed)
    for epoch in range(3):
        assert sorted(Balanced(seed, 1.0).order(epoch, targets)) == list(range(len(targets)))


def test_balanced_shuffles_within_the_epoch_and_within_the_class() -> None:
    targets = unbalanced([40, 400])
    orders = [Balanced(3).order(epoch, targets) for epoch in range(40)]
    small = np.flatnonzero(targets == 0)
    firsts = [int(order[np.isin(order, small)][0]) for order in orders]
    assert len(set(firsts)) > 20
    halves = np.array([np.isin(order[:220], small).sum() for order in orders])  # 110 of 220 expected
    assert 107 < halves.mean() < 113
    assert 3 < halves.std() < 8
    repeats = [tuple(order[np.isin(order, small)][:40]) for order in orders]
    assert len(set(repeats)) == 40


def test_a_class_deals_each_permutation_with_equal_chance() -> None:
    """Three pictures, one class: six orders over many seeds, each close to a sixth."""
    targets = np.zeros(3, dtype=np.int64)
    found = [tuple(np.argsort(Balanced(seed).order(epoch, targets))) for seed in range(300) for epoch in range(4)]
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts)


def test_a_class_deals_another_permutation_each_time() -> None:
    """Of 30 pictures an epoch takes 20: epochs 0, 3, 6, ... begin permutations."""
    targets = np.repeat(np.arange(2), [30, 10])
    orders = [Balanced(1).order(epoch, targets) for epoch in range(0, 18, 3)]
    shown = {frozenset(order[order < 30].tolist()) for order in orders}
    assert {len(pictures) for pictures in shown} == {20}
    assert len(shown) == 6


def test_pinned() -> None:
    """The same on every machine and version: a run can be repeated."""
    assert Shuffle(0).order(0, np.zeros(8, dtype=np.int64)).tolist() == [1, 2, 3, 0, 6, 4, 5, 7]
    targets = np.array([7, 7, 2, 7, 7, 7, 2, 7], dtype=np.int64)
    assert [Balanced(0).order(epoch, targets).tolist() for epoch in (0, 1)] == [
        [2, 6, 2, 6, 3, 0, 5, 7],
        [5, 1, 2, 3, 6, 2, 4, 6],
    ]
