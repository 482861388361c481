"""The split by groups: disjoint always, and as stratified as the groups allow."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clsfit.data import group_split
from clsfit.data.group_split import check_disjoint, choose, describe
from clsfit.data.split import apply_recorded, hold_out, to_rows
from clsfit.data.table import SampleTable
from clsfit.errors import CheckpointError, DataError

Sides = npt.NDArray[np.bool_]


@st.composite
def tables(draw: st.DrawFn, most: int = 40) -> SampleTable:
    """Groups of one picture or many, of one class or several."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    number, width = draw(st.integers(2, most)), draw(st.integers(1, 5))
    sizes = rng.integers(1, draw(st.sampled_from([2, 8, 40])), number)
    if draw(st.booleans()):
        sizes[0] *= 20
    spanning = draw(st.sampled_from([0.0, 0.3, 1.0]))
    groups, classes = [], []
    for group, size in enumerate(sizes.tolist()):
        home = rng.integers(width)
        groups += [f"person {group}"] * size
        classes += [int(rng.integers(width)) if rng.random() < spanning else int(home) for _ in range(size)]
    paths = tuple(f"{group}/{i}.png" for i, group in enumerate(groups))
    return SampleTable(paths, tuple(map(str, range(width))), np.array(classes), groups=tuple(groups))


FRACTIONS = st.floats(0.05, 0.7)
SEEDS = st.integers(-(2**65), 2**65)


def divided(table: SampleTable, fraction: float, seed: int) -> SampleTable:
    try:
        return hold_out(table, fraction, seed)
    except DataError as error:
        assume("none of the" not in error.what)  # each group has all pictures of a class
        raise


def deviation(table: SampleTable, held: Sides, fraction: float) -> float:
    """By plain means: what the split makes small."""
    classes = np.unique(table.targets)
    shares = np.array([held[table.targets == k].mean() for k in classes])
    return float(((shares - fraction) ** 2).mean() + (held.mean() - fraction) ** 2)


def allowed(table: SampleTable, held: Sides) -> bool:
    return bool(held.any()) and not any(held[table.targets == k].all() for k in np.unique(table.targets))


@given(tables(), FRACTIONS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_disjoint_complete_and_every_class_in_training(table: SampleTable, fraction: float, seed: int) -> None:
    done = divided(table, fraction, seed)
    sides: dict[str, set[str]] = {}
    for group, split in zip(done.groups, done.splits, strict=True):
        sides.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in sides.values())
    assert set(done.splits) == {"train", "val"}
    for number, train in zip(np.bincount(table.targets, minlength=5), done.counts("train"), strict=False):
        assert train >= min(number, 1)


@given(tables(), FRACTIONS, SEEDS)
@settings(max_examples=50, deadline=None)
def test_no_worse_than_the_best_of_200_random_ones(table: SampleTable, fraction: float, seed: int) -> None:
    ours = np.array(divided(table, fraction, seed).splits) == "val"
    ids = np.unique(table.groups, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    others = [(rng.random(ids.max() + 1) < fraction)[ids] for _ in range(200)]
    best = min((deviation(table, held, fraction) for held in others if allowed(table, held)), default=np.inf)
    assert deviation(table, ours, fraction) <= best + 1e-9


@given(tables(most=9), FRACTIONS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_of_few_groups_the_best_of_all(table: SampleTable, fraction: float, seed: int) -> None:
    ours = np.array(divided(table, fraction, seed).splits) == "val"
    names, ids = np.unique(table.groups, return_inverse=True)
    every = [(code >> np.arange(len(names)) & 1).astype(bool)[ids] for code in range(1 << len(names))]
    best = min(deviation(table, held, fraction) for held in every if allowed(table, held))
    assert deviation(table, ours, fraction) <= best + 1e-9


@given(tables(), FRACTIONS, SEEDS, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_independent_of_the_order_of_rows(table: SampleTable, fraction: float, seed: int, order: int) -> None:
    done = divided(table, fraction, seed)
    mixed = table.select(np.random.default_rng(order).permutation(len(table)))
    again = hold_out(mixed, fraction, seed)
    assert dict(zip(again.paths, again.splits, strict=True)) == dict(zip(done.paths, done.splits, strict=True))
    assert hold_out(table, fraction, seed).splits == done.splits


def _people(number: int, size: int = 7, width: int = 2) -> SampleTable:
    groups = tuple(f"p{i}" for i in range(number) for _ in range(size))
    targets = np.array([i % width for i in range(number) for _ in range(size)])
    paths = tuple(f"{group}/{i}.png" for i, group in enumerate(groups))
    return SampleTable(paths, tuple(map(str, range(width))), targets, groups=groups)


@pytest.mark.parametrize("number", [10, 100])
def test_equal_groups_give_the_exact_share_and_the_seed_decides_which(number: int) -> None:
    table = _people(number)
    found = {hold_out(table, 0.2, seed).splits for seed in range(6)}
    assert len(found) > 3
    for splits in found:
        assert table.with_splits(splits).counts("val") == (7 * number // 10,) * 2


def test_pinned() -> None:
    done = hold_out(_people(20), 0.2, 0)
    held = sorted({group for group, split in zip(done.groups, done.splits, strict=True) if split == "val"})
    assert held == PINNED


PINNED = ["p1", "p18", "p4", "p9"]


def test_many_groups_of_very_different_sizes() -> None:
    rng = np.random.default_rng(3)
    ids = np.floor(rng.pareto(1.0, 60_000) * 500).astype(np.int64) % 20_000
    targets = (ids * 7 + rng.integers(0, 3, len(ids))) % 40
    held = choose([f"g{i}" for i in ids], targets, 0.2, 0)
    shares = [held[targets == k].mean() for k in range(40)]
    assert abs(held.mean() - 0.2) < 1e-3
    assert max(abs(share - 0.2) for share in shares) < 0.02


def test_groups_that_span_all_classes() -> None:
    """Without the search after the first division the deviation is 11 times as large."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 60, 4000)
    targets = (ids * 3 + rng.integers(0, 4, 4000)) % 10
    table = SampleTable(tuple(map(str, range(4000))), tuple(map(str, range(10))), targets, groups=tuple(map(str, ids)))
    assert deviation(table, choose(table.groups, targets, 0.2, 0), 0.2) < 2e-5


@pytest.mark.parametrize("number", [4, 40])
def test_nearly_all_is_held_out_but_no_class_whole(number: int) -> None:
    table = _people(number, width=number // 2)
    assert hold_out(table, 0.95, 0).counts("train") == (7,) * (number // 2)


def test_a_single_group() -> None:
    with pytest.raises(DataError, match="of one group"):
        hold_out(_people(1), 0.2, 0)


def test_every_group_has_all_of_a_class() -> None:
    with pytest.raises(DataError, match="none of the 2 groups"):
        hold_out(_people(2), 0.2, 0)


def test_a_class_of_one_group_stays_in_training_and_is_named() -> None:
    table = _people(12)
    rare = SampleTable(("r/1.png", "r/2.png"), ("rare",), np.array([0, 0]), groups=("r", "r"))
    both = SampleTable(
        table.paths + rare.paths,
        ("0", "1", "rare"),
        np.concatenate((table.targets, [2, 2])),
        groups=table.groups + rare.groups,
    )
    done = hold_out(both, 0.25, 0)
    assert done.counts("val")[2] == 0
    lines = describe(done)
    assert lines[0].startswith("split by 13 groups: 10 train, 3 val; class shares in val 0.00 to ")
    assert lines[1] == "no validation pictures of: rare (all its pictures are of one group)"


def test_what_a_split_came_to() -> None:
    assert describe(hold_out(_people(10), 0.2, 0)) == (
        "split by 10 groups: 8 train, 2 val; class shares in val 0.20 to 0.20",
    )
    assert describe(hold_out(_people(10), 0.0, 0)) == ("split by 10 groups: 10 train",)


def test_own_test_groups_are_left_alone() -> None:
    table = _people(12)
    splits = ["test" if group in {"p0", "p1"} else "" for group in table.groups]
    done = hold_out(table.with_splits(splits), 0.2, 0)
    assert {group for group, split in zip(done.groups, done.splits, strict=True) if split == "test"} == {"p0", "p1"}
    assert done.counts("val") == (7, 7)


@pytest.mark.parametrize(("splits", "said"), [(("val", ""), "train and val"), (("test", ""), "train|val and test")])
def test_rows_without_a_split_must_not_join_a_group_elsewhere(splits: tuple[str, str], said: str) -> None:
    table = _people(6)
    given = [splits[0] if i == 0 else splits[1] for i in range(len(table))]
    with pytest.raises(DataError, match="more than one split") as caught:
        hold_out(table.with_splits(given), 0.2, 0)
    assert "p0 (" in caught.value.where


def test_the_check_names_three_groups() -> None:
    table = _people(8)
    with pytest.raises(DataError) as caught:
        check_disjoint(table.with_splits(["train", "val"] * (len(table) // 2)))
    assert caught.value.what.startswith("8 groups")
    assert caught.value.where.count("train and val") == 3
    assert "and 5 more" in caught.value.where


def test_the_record_holds_groups_and_is_used_again() -> None:
    done = hold_out(_people(10), 0.2, 0)
    rows = to_rows(done)
    assert [row["group"] for row in rows] == list(done.groups)
    plain = _people(10)
    assert apply_recorded(plain, rows).splits == done.splits
    moved = dataclasses.replace(plain, groups=("p1", *plain.groups[1:]))
    with pytest.raises(CheckpointError, match="1 of another group"):
        apply_recorded(moved, rows)


def test_new_pictures_of_a_recorded_group_join_it() -> None:
    done = hold_out(_people(10), 0.2, 0)
    place = done.splits.index("val")
    more = SampleTable(
        (*done.paths, "new/1.png", "new/2.png"),
        done.classes,
        np.append(done.targets, [0, 0]),
        groups=(*done.groups, done.groups[place], "stranger"),
    )
    again = apply_recorded(more, to_rows(done), accept=True)
    assert again.splits[-2:] == ("val", "")


def test_costs_are_those_of_the_definition() -> None:
    table = _people(30, size=3, width=4)
    ids = np.unique(table.groups, return_inverse=True)[1]
    counts = group_split._Counts.of(ids, table.targets, 0.2)
    side = group_split._Side(counts, np.arange(30) % 5 == 0)
    for one, two in pairwise([0, 7, 13, 5, 21]):
        before = deviation(table, side.inside[ids], 0.2)
        gain = side.gains(keep=True)[one]
        side.flip(one)
        assert deviation(table, side.inside[ids], 0.2) - before == pytest.approx(gain, abs=1e-12)
        side.flip(two)
