"""Keyed randomness: pinned values, equal forms, and the laws that everything else rests on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit import keyed
from clsfit.keyed import Key, key, permutation, step_seed, step_seeds, uniform, uniform_torch

KEYS = st.integers(0, 2**64 - 1)
SEEDS = st.integers(-(2**63), 2**63 - 1)


GOLDEN_KEYS = [
    16294208416658607535,
    10451216379200822465,
    16490336266968443936,
    12035550249420947055,
    13257658831788426719,
    12139923648791474964,
    326418045254598254,
    7270934090504711381,
]
GOLDEN_STEP_SEEDS = [
    5366843577721654607,
    6172968345237694954,
    9090335678496782655,
]
GOLDEN_UNIFORM = [
    "0x1.b6fc9f402b33cp-3",
    "0x1.b706c9dd995a7p-1",
    "0x1.e2625f55b5887p-1",
    "0x1.d117ed1a5e039p-1",
    "0x1.2e1f0bcfb5fc6p-1",
    "0x1.10085c19f8b75p-1",
]
GOLDEN_PERMUTATION = [8, 5, 10, 3, 7, 4, 9, 11, 1, 2, 0, 6]
GOLDEN_INTEGERS = [[8, 3, 1], [4, 7, 4], [6, 2, 3], [8, 0, 5]]


def test_golden_keys() -> None:
    assert [
        key(0), key(1), key(-1), key(0, 0), key(0, 1, 2), key(0, "crop"), key(7, 3, "crop/0"), key(0, "12345678"),
    ] == GOLDEN_KEYS  # fmt: skip
    assert [step_seed(0, 0), step_seed(0, 1), step_seed(5, 123456)] == GOLDEN_STEP_SEEDS


def test_golden_values() -> None:
    assert [value.hex() for value in uniform(key(0, "golden"), np.array([0, 1, 2**40]), 2).ravel()] == GOLDEN_UNIFORM
    assert permutation(key(0, 0, "order"), 12).tolist() == GOLDEN_PERMUTATION
    drawn = Key(3, 1, np.arange(4), "crop")
    assert drawn.integers(3, 9).tolist() == GOLDEN_INTEGERS


def test_a_key_is_splitmix64() -> None:
    """The first outputs of splitmix64 from seed 0, as published with its reference code."""
    assert keyed._mix_int(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    assert keyed._mix_int(2 * 0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4
    assert key(0) == 0xE220A8397B1DCDAF


def test_parts_are_kept_apart() -> None:
    made = [
        key(0), key(0, 0), key(0, 0, 0), key(0, ""), key(0, "", ""), key(0, "a"), key(0, "a", "b"), key(0, "b", "a"),
        key(0, "ab"), key(0, "a\0"), key(0, 1, 2), key(0, 2, 1), key(1, 2), key(0, 12), key(0, "12345678"),
        key(0, "1234567", "8"), key(0, "1"), key(0, 1),
    ]  # fmt: skip
    assert len(set(made)) == len(made)


@given(SEEDS, st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20), max_size=4))
def test_keys_are_64_bits(seed: int, parts: list[int | str]) -> None:
    made = key(seed, *parts)
    assert 0 <= made < 2**64
    assert made == key(seed, *parts)
    assert key(seed, *parts, 0) != made


@given(SEEDS, st.integers(0, 2**40))
def test_step_seeds_fit_torch(seed: int, step: int) -> None:
    assert 0 <= step_seed(seed, step) < 2**63


@given(SEEDS, st.integers(0, 2**40), st.integers(0, 20))
def test_step_seeds_in_a_row_are_those_of_each(seed: int, first: int, count: int) -> None:
    assert step_seeds(seed, first, count) == [step_seed(seed, step) for step in range(first, first + count)]


@given(KEYS, st.lists(st.integers(0, 2**62), min_size=1, max_size=30), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_torch_gives_the_same_bits(base: int, index: list[int], draws: int) -> None:
    torch = pytest.importorskip("torch")
    ours = uniform(base, np.array(index), draws)
    theirs = uniform_torch(base, torch.tensor(index), draws)
    assert theirs.dtype == torch.float64
    assert np.array_equal(ours, theirs.numpy())


def test_torch_gives_the_same_bits_over_many_draws() -> None:
    torch = pytest.importorskip("torch")
    for seed in range(3):
        base = key(seed, "many")
        index = np.arange(100_000)
        assert np.array_equal(uniform(base, index, 7), uniform_torch(base, torch.from_numpy(index), 7).numpy())


@given(KEYS, st.integers(0, 300), st.integers(0, 300), st.integers(1, 20), st.integers(1, 20))
@settings(deadline=None)
def test_a_draw_depends_on_its_sample_and_number_only(base: int, start: int, count: int, draws: int, more: int) -> None:
    full = uniform(base, np.arange(start + count), draws + more)
    part = uniform(base, np.arange(start, start + count), draws)
    assert np.array_equal(full[start:, :draws], part)


def test_values_lie_in_the_unit_interval_and_are_uniform() -> None:
    drawn = uniform(key(0, "uniform"), np.arange(200_000), 3)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    bins = 256
    for column in (*drawn.T, drawn[:1000].ravel()):
        counts = np.bincount((column * bins).astype(int), minlength=bins)
        expected = len(column) / bins
        chi2 = ((counts - expected) ** 2 / expected).sum() / (bins - 1)
        assert 0.7 < chi2 < 1.35  # 4 standard deviations of chi2/df are 0.35


def test_low_bits_are_uniform_too() -> None:
    drawn = uniform(key(1, "low"), np.arange(100_000), 1)[:, 0]
    low = (drawn * 2**53).astype(np.int64) & 63
    counts = np.bincount(low, minlength=64)
    assert ((counts - 100_000 / 64) ** 2 / (100_000 / 64)).sum() / 63 < 1.72


def test_neighbours_draws_epochs_and_purposes_are_independent() -> None:
    number = 100_000
    positions = np.arange(number)
    base = Key(0, 4, positions, "crop").uniform(2)
    others = {
        "next sample": (base[:-1, 0], base[1:, 0]),
        "16 samples on": (base[:-16, 0], base[16:, 0]),
        "next draw": (base[:, 0], base[:, 1]),
        "next draw of the next sample": (base[:-1, 0], base[1:, 1]),
        "next epoch": (base[:, 0], Key(0, 5, positions, "crop").uniform(1)[:, 0]),
        "next seed": (base[:, 0], Key(1, 4, positions, "crop").uniform(1)[:, 0]),
        "other purpose": (base[:, 0], Key(0, 4, positions, "hflip").uniform(1)[:, 0]),
        "inner purpose": (base[:, 0], Key(0, 4, positions, "crop").for_purpose("x").uniform(1)[:, 0]),
        "seed and epoch swapped": (base[:, 0], Key(4, 0, positions, "crop").uniform(1)[:, 0]),
    }
    limit = 4.5 / np.sqrt(number)
    for name, (one, other) in others.items():
        assert abs(np.corrcoef(one, other)[0, 1]) < limit, name
        assert abs(np.corrcoef(one < 0.5, other < 0.5)[0, 1]) < limit, name


def test_no_two_keys_meet() -> None:
    bases = {key(seed, epoch, purpose) for seed in range(20) for epoch in range(100) for purpose in ("a", "b", "c")}
    assert len(bases) == 20 * 100 * 3


@given(KEYS, st.integers(0, 2000))
def test_a_permutation_holds_every_number_once(base: int, length: int) -> None:
    order = permutation(base, length)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(length))
    assert np.array_equal(order, permutation(base, length))


@given(KEYS, st.integers(1, 300), st.integers(0, 300))
def test_a_shorter_permutation_is_the_longer_one_without_the_rest(base: int, length: int, more: int) -> None:
    longer = permutation(base, length + more)
    assert np.array_equal(longer[longer < length], permutation(base, length))


def test_every_order_is_equally_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(24_000):
        order = tuple(permutation(key(seed), 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) / 23 < 2.2


@given(SEEDS, st.integers(0, 1000), st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(1, 10**6))
def test_integers_lie_below_high(seed: int, epoch: int, positions: list[int], high: int) -> None:
    drawn = Key(seed, epoch, np.array(positions), "p").integers(3, high)
    assert drawn.dtype == np.int64
    assert drawn.shape == (len(positions), 3)
    assert drawn.min() >= 0
    assert drawn.max() < high


def test_integers_are_equally_likely() -> None:
    drawn = Key(0, 0, np.arange(70_000), "dice").integers(1, 7)[:, 0]
    counts = np.bincount(drawn, minlength=7)
    assert ((counts - 10_000) ** 2 / 10_000).sum() / 6 < 3.8


def test_global_generators_are_neither_used_nor_moved() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = Key(0, 0, np.arange(5), "x").uniform(2)
    np.random.seed(2)
    assert np.array_equal(first, Key(0, 0, np.arange(5), "x").uniform(2))
    np.random.seed(1)
    permutation(3, 10)
    assert np.array_equal(np.random.get_state()[1], before)
