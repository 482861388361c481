"""K parts of a table: disjoint, stratified, by whole groups, a function of seed and names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clsfit.data.folds import hold_out_fold
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError


def table(counts: list[int], groups: tuple[str, ...] = (), splits: tuple[str, ...] = ()) -> SampleTable:
    """``counts`` pictures per class."""
    targets = np.repeat(np.arange(len(counts)), counts)
    paths = tuple(f"{target}/{number}.png" for number, target in enumerate(targets.tolist()))
    return SampleTable(paths, tuple(f"c{k}" for k in range(len(counts))), targets, splits, groups)


def parts(whole: SampleTable, folds: int, seed: int = 0) -> list[set[str]]:
    """The paths that each fold holds out."""
    found = []
    for fold in range(1, folds + 1):
        divided = hold_out_fold(whole, folds, fold, seed)
        assert divided.paths == whole.paths
        found.append({divided.paths[row] for row in divided.rows("val")})
        assert set(divided.splits) == {"train", "val"}
    return found


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    folds=st.integers(2, 7),
    seed=st.integers(0, 2**31),
)
def test_every_picture_is_held_out_once_but_a_class_s_only_one(counts: list[int], folds: int, seed: int) -> None:
    whole = table(counts)
    single = {path for path, target in zip(whole.paths, whole.targets, strict=True) if counts[target] == 1}
    assume(len(whole) - len(single) >= folds)
    held = parts(whole, folds, seed)
    assert sum(map(len, held)) == len(set().union(*held))
    assert set().union(*held) == set(whole.paths) - single


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=1, max_size=6),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**31),
)
def test_every_part_has_its_share_of_each_class(counts: list[int], folds: int, seed: int) -> None:
    """To a picture or two of each, and the parts are of one size, to a picture."""
    assume(sum(counts) >= 2 * folds)
    held = parts(table(counts), folds, seed)
    sizes = [len(part) for part in held]
    assert max(sizes) - min(sizes) <= len(counts)
    for target, count in enumerate(counts):
        for part in held:
            own = sum(path.startswith(f"{target}/") for path in part)
            assert abs(own - count / folds) < 2


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=12, max_size=40),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**31),
)
def test_groups_stay_whole(sizes: list[int], folds: int, seed: int) -> None:
    """Two classes, and half of each group's pictures in each of them."""
    number = sum(sizes)
    groups = tuple(f"g{i}" for i, size in enumerate(sizes) for _ in range(2 * size))
    targets = np.array([i % 2 for i in range(2 * number)])
    whole = SampleTable(tuple(map(str, range(2 * number))), ("a", "b"), targets, (), groups)
    held = parts(whole, folds, seed)
    assert set().union(*held) == set(whole.paths)
    home = {path: fold for fold, part in enumerate(held) for path in part}
    for group in set(groups):
        assert len({home[path] for path, own in zip(whole.paths, groups, strict=True) if own == group}) == 1
    shares = [len(part) / (2 * number) for part in held]
    assert max(shares) - min(shares) <= 4 * max(sizes) / number


def test_seed_and_names_decide_and_the_order_does_not() -> None:
    whole = table([30, 20])
    turned = whole.select(np.arange(50)[::-1])
    assert parts(whole, 4, seed=3) == parts(turned, 4, seed=3)
    assert parts(whole, 4, seed=3) != parts(whole, 4, seed=4)


def test_test_pictures_stay_what_they_are() -> None:
    splits = tuple("test" if row % 5 == 0 else "" for row in range(50))
    whole = table([30, 20], splits=splits)
    for fold in (1, 2, 3):
        divided = hold_out_fold(whole, 3, fold, 0)
        assert [name for name in divided.splits if name == "test"] == ["test"] * 10
        assert divided.rows("test").tolist() == whole.rows("test").tolist()


def test_a_group_with_all_of_a_class_is_trained_on_in_every_fold() -> None:
    groups = tuple("x" if row >= 30 else f"g{row % 6}" for row in range(34))
    whole = table([30, 4], groups)
    held = parts(whole, 3)
    assert set().union(*held) == {path for path in whole.paths if path.startswith("0/")}


def test_refused() -> None:
    with pytest.raises(ConfigError, match="DATA has validation pictures of its own"):
        hold_out_fold(table([4, 4], splits=("train", "val") * 4), 2, 1, 0)
    with pytest.raises(DataError, match="there are 4 pictures to divide into 5 folds"):
        hold_out_fold(table([2, 2]), 5, 1, 0)
    groups = tuple(f"g{row % 3}" for row in range(20))
    with pytest.raises(DataError, match="there are 3 groups to divide into 4 folds"):
        hold_out_fold(table([10, 10], groups), 4, 1, 0)


def test_a_fold_that_would_hold_all_of_a_class_is_refused() -> None:
    """g0 goes to the first fold, so both groups with class 2 would be in one of them otherwise."""
    sizes = [("g0", 1, 1), ("g0", 2, 2), ("g1", 0, 30), ("g1", 1, 1), ("g2", 0, 9), ("g2", 2, 2)]
    rows = [(group, target) for group, target, count in sizes for _ in range(count)]
    groups = tuple(group for group, _ in rows)
    whole = SampleTable(tuple(map(str, range(len(rows)))), ("x", "y", "z"), np.array([t for _, t in rows]), (), groups)
    for fold in (1, 2):
        with pytest.raises(DataError, match="fold 2 of 2 would hold all pictures of a class") as caught:
            hold_out_fold(whole, 2, fold, 0)
        assert "classes z" in str(caught.value)
