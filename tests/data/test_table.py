"""The sample table: what it accepts, what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clsfit.data.table import SampleTable
from clsfit.errors import DataError


def _table(**changes: Any) -> SampleTable:
    values: dict[str, Any] = {
        "paths": ("a/1.png", "a/2.png", "b/1.png"),
        "classes": ("a", "b"),
        "targets": np.array([0, 0, 1]),
        "splits": ("train", "val", "train"),
    }
    return SampleTable(**(values | changes))


def test_rows_and_counts() -> None:
    table = _table()
    assert table.rows("train").tolist() == [0, 2]
    assert table.rows("train").dtype == np.int64
    assert table.rows("test").tolist() == []
    assert table.counts("train") == (1, 1)
    assert table.counts("val") == (1, 0)
    assert table.labels() == ("a", "a", "b")


def test_targets_become_int64_and_splits_default_to_none() -> None:
    table = _table(targets=np.array([0, 1, 1], dtype=np.uint8), splits=())
    assert table.targets.dtype == np.int64
    assert table.splits == ("", "", "")


def test_select_takes_every_column() -> None:
    table = _table(groups=("x", "y", "z"), weights=[1.0, 2.0, 3.0]).select(np.array([2, 0]))
    assert table.paths == ("b/1.png", "a/1.png")
    assert table.targets.tolist() == [1, 0]
    assert table.splits == ("train", "train")
    assert table.groups == ("z", "x")
    assert table.weights is not None
    assert table.weights.tolist() == [3.0, 1.0]
    assert table.classes == ("a", "b")


def test_a_models_classes_are_matched_by_name() -> None:
    table = _table(targets=np.array([0, -1, 1]), groups=("x", "y", "z"), weights=[1.0, 2.0, 3.0])
    known = table.with_classes(("b", "c", "a"))
    assert (known.classes, known.targets.tolist()) == (("b", "c", "a"), [2, -1, 0])
    assert (known.paths, known.splits, known.groups) == (table.paths, table.splits, table.groups)
    assert known.weights is table.weights
    assert table.with_classes(("a", "b")) is table
    with pytest.raises(DataError, match="does not know the class b") as refused:
        table.with_classes(("a", "B"))
    assert refused.value.remedy == "did you mean 'B' for 'b'? judge it on its own classes; known: a, B"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paths": ("a/1.png", "a/1.png", "b/1.png")}, "listed twice"),
        ({"targets": np.array([0, 0, 2])}, "outside the 2 classes"),
        ({"targets": np.array([0, -2, 1])}, "outside the 2 classes"),
        ({"targets": np.array([0.0, 0.5, 1.0])}, "whole numbers"),
        ({"targets": np.array([0, 1])}, "shape"),
        ({"splits": ("train", "val")}, "2 splits"),
        ({"splits": ("train", "val", "dev")}, "'dev'"),
        ({"groups": ("x",)}, "1 groups"),
        ({"classes": ("a", "a")}, "named twice"),
        ({"weights": [1.0, float("nan"), 1.0]}, "finite"),
        ({"weights": [1.0, -1.0, 1.0]}, "finite and >= 0"),
        ({"weights": [1.0]}, "weights of shape"),
    ],
)
def test_wrong_tables_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        _table(**changes)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="no pictures"):
        SampleTable((), ("a",), np.array([], dtype=np.int64))


def test_unlabelled_rows_may_repeat_a_path() -> None:
    table = SampleTable(("x", "x"), (), np.array([-1, -1]))
    assert table.labels() == ("", "")


def test_fingerprint_depends_on_paths_labels_and_sizes() -> None:
    table = _table()
    base = table.fingerprint([1, 2, 3])
    assert base == _table().fingerprint(np.array([1, 2, 3]))
    others = [
        table.fingerprint(),
        table.fingerprint([1, 2, 4]),
        _table(targets=np.array([0, 1, 1])).fingerprint([1, 2, 3]),
        _table(classes=("a", "c")).fingerprint([1, 2, 3]),
        _table(paths=("a/1.png", "a/3.png", "b/1.png")).fingerprint([1, 2, 3]),
    ]
    assert len({base, *others}) == 6
    assert _table(splits=("val", "train", "train")).fingerprint([1, 2, 3]) == base


def test_fingerprint_takes_names_that_are_no_utf8() -> None:
    strange = _table(paths=("a/\udcff.png", "a/2.png", "b/1.png"))
    assert strange.fingerprint() != _table().fingerprint()


def test_messages_escape_control_characters() -> None:
    with pytest.raises(DataError) as caught:
        _table(paths=("a/\x1b[31m.png", "a/\x1b[31m.png", "b/1.png"))
    assert "\x1b" not in str(caught.value)
