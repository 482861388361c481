"""The digits are scikit-learn's, read without importing it."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import clsfit_standard.datasets as datasets
import numpy as np
import pytest
from clsfit_standard.datasets import Digits


def assert_is_load_digits(digits: Digits) -> None:
    from sklearn.datasets import load_digits

    reference = load_digits()
    table = digits.table()
    assert len(table.paths) == len(set(table.paths)) == 1797
    assert table.classes == tuple(str(name) for name in reference.target_names)
    assert np.array_equal(table.targets, reference.target)
    assert set(table.splits) == {""}
    pixels = np.stack([digits.read(row) for row in range(1797)])
    assert pixels.dtype == np.uint8
    assert pixels.shape == reference.images.shape
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.array_equal(np.rint(pixels * (16 / 255)), reference.images)


def test_digits_are_scikit_learns() -> None:
    assert_is_load_digits(Digits())


@pytest.mark.parametrize("gone", ["file", "package"])
def test_digits_where_the_file_has_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: str) -> None:
    spec = ModuleSpec("sklearn", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(datasets, "find_spec", lambda name: spec if gone == "file" else None)
    assert_is_load_digits(Digits())


def test_grey_levels() -> None:
    """round(v * 255 / 16) for each of the 17 levels."""
    levels = np.unique(np.stack([Digits().read(row) for row in range(200)]))
    assert levels.tolist() == [round(v * 255 / 16) for v in range(17)]
