"""The hold-out split and its record."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit.data.split import apply_recorded, from_rows, hold_out, to_rows
from clsfit.data.table import SampleTable
from clsfit.errors import CheckpointError, DataError

NASTY = (
    "a b.png",
    "line\nbreak.png",
    "return\r.png",
    'quo"te.png',
    "comma,semi;.png",
    "-leading.png",
    "%s.png",
    "[red]x[red].png",
    "\x1b[31m.png",
    "\udcff\udcfe.png",
    "😀.png",
    "\u00e9.png",
    "e\u0301.png",
    "=1+1.png",
    "x" * 255,
    "'single'.png",
    " .png",
)


def _table(sizes: list[int], splits: tuple[str, ...] = ()) -> SampleTable:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    paths = tuple(f"c{label}/{i}.png" for i, label in enumerate(targets.tolist()))
    return SampleTable(paths, tuple(f"c{i}" for i in range(len(sizes))), targets, splits)


CLASS_SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=8)
FRACTIONS = st.floats(0, 0.95)
SEEDS = st.integers(-(2**70), 2**70)


@given(CLASS_SIZES, FRACTIONS, SEEDS)
@settings(max_examples=150, deadline=None)
def test_stratified_disjoint_and_complete(sizes: list[int], fraction: float, seed: int) -> None:
    table = hold_out(_table(sizes), fraction, seed)
    assert set(table.splits) <= {"train", "val"}
    for size, train, val in zip(sizes, table.counts("train"), table.counts("val"), strict=True):
        assert train + val == size
        assert train >= 1
        assert abs(val - fraction * size) < 1 + 1e-9 or (train == 1 and val <= fraction * size)
    assert (sum(table.counts("val")) == 0) == (fraction == 0 or max(sizes) == 1)


@given(CLASS_SIZES, st.floats(0.05, 0.6), SEEDS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_independent_of_the_order_of_rows(sizes: list[int], fraction: float, seed: int, random: object) -> None:
    table = _table(sizes)
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain = dict(zip(table.paths, hold_out(table, fraction, seed).splits, strict=True))
    mixed = table.select(np.array(order))
    assert dict(zip(mixed.paths, hold_out(mixed, fraction, seed).splits, strict=True)) == plain


def test_independent_of_other_classes_order() -> None:
    table = _table([20, 30])
    swapped = SampleTable(table.paths, ("c1", "c0"), 1 - table.targets)
    assert hold_out(table, 0.3, 4).splits == hold_out(swapped, 0.3, 4).splits


def test_total_is_as_near_as_it_can_be() -> None:
    assert sum(hold_out(_table([3, 3, 3, 3, 3]), 0.2, 0).counts("val")) == 3
    assert hold_out(_table([4000, 1000]), 0.2, 0).counts("val") == (800, 200)
    assert sum(hold_out(_table([2, 1]), 0.2, 0).counts("val")) == 1  # never no validation where one was asked for


def test_deterministic_by_seed_and_pinned() -> None:
    table = _table([6, 4])
    first = hold_out(table, 0.3, 0)
    assert first.splits == hold_out(table, 0.3, 0).splits
    assert len({hold_out(table, 0.3, seed).splits for seed in range(8)}) > 1
    held = [path for path, split in zip(first.paths, first.splits, strict=True) if split == "val"]
    assert held == PINNED


PINNED = ["c0/0.png", "c0/5.png", "c1/6.png"]


def test_existing_splits_are_kept() -> None:
    splits = ("train",) * 4 + ("val",) * 2 + ("test",) * 2 + ("",) * 2
    table = hold_out(_table([5, 5], splits), 0.5, 0)
    assert table.splits == ("train",) * 4 + ("val",) * 2 + ("test",) * 2 + ("train",) * 2


def test_validation_comes_out_of_train_where_there_is_none() -> None:
    splits = (("train",) * 8 + ("test",) * 2) * 2
    table = hold_out(_table([10, 10], splits), 0.25, 0)
    assert table.counts("train") == (6, 6)
    assert table.counts("val") == (2, 2)
    assert table.counts("test") == (2, 2)
    assert [s for s, was in zip(table.splits, splits, strict=True) if was == "test"] == ["test"] * 4


def test_fraction_zero_takes_none() -> None:
    assert hold_out(_table([5, 5]), 0.0, 0).counts("val") == (0, 0)


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="no pictures to train on"):
        hold_out(_table([2, 2], ("test",) * 4), 0.2, 0)


def test_split_csv_round_trip_with_nasty_names(tmp_path: Path) -> None:
    number = len(NASTY)
    paths = tuple(f"{NASTY[i % number]}/{NASTY[(i * 7 + i // number) % number]}{i}" for i in range(3 * number))
    classes = tuple(sorted(NASTY))
    targets = np.array([classes.index(path.split("/")[0]) for path in paths])
    groups = tuple(NASTY[i % 5] for i in range(len(paths)))
    table = hold_out(SampleTable(paths, classes, targets, groups=groups), 0.3, 1)
    file = tmp_path / "split.csv"
    with file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        writer = csv.DictWriter(out, ["path", "label", "group", "split"])
        writer.writeheader()
        writer.writerows(to_rows(table))
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as back:
        rows = list(csv.DictReader(back))
    again = from_rows(rows)
    assert again.paths == table.paths
    assert again.labels() == table.labels()
    assert again.groups == groups
    assert again.splits == table.splits
    bare = SampleTable(paths, classes, targets, groups=groups)
    assert apply_recorded(bare, rows).splits == table.splits


def test_recorded_split_is_mapped_by_path_not_by_place() -> None:
    table = hold_out(_table([6, 6]), 0.3, 0)
    back = table.select(np.arange(len(table))[::-1]).with_splits(())
    assert apply_recorded(back, to_rows(table)).splits == table.splits[::-1]


def test_differences_are_named() -> None:
    table = hold_out(_table([3, 3]), 0.3, 0)
    rows = to_rows(table)
    changed = SampleTable(
        ("c0/0.png", "c0/1.png", "c0/new\x1b.png", "c1/3.png", "c1/4.png"), ("c0", "c1"), np.array([0, 1, 0, 1, 1])
    )
    with pytest.raises(CheckpointError) as caught:
        apply_recorded(changed, rows)
    text = str(caught.value)
    assert len(text.splitlines()) == 3
    assert "1 new (c0/new\\x1b.png)" in text
    assert "2 missing (c0/2.png, c1/5.png)" in text
    assert "1 of another class (c0/1.png)" in text
    accepted = apply_recorded(changed, rows, accept=True)
    assert accepted.splits[2] == ""
    assert accepted.splits[0] == table.splits[0]


@pytest.mark.parametrize("lacking", ["path", "label", "group", "split"])
def test_a_damaged_record_is_an_error(lacking: str) -> None:
    rows = [{key: value for key, value in row.items() if key != lacking} for row in to_rows(_table([2, 2]))]
    with pytest.raises(CheckpointError, match=lacking):
        from_rows(rows)
