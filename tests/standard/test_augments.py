"""Augmentations: what is drawn, and the matrices that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from clsfit_standard.augments import Crop, HorizontalFlip
from hypothesis import given
from hypothesis import strategies as st

from clsfit.keyed import Key


def key(count: int, seed: int = 0, epoch: int = 0) -> Key:
    return Key(seed, epoch, np.arange(count), "augment")


def sizes(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.tile(np.array([height, width]), (count, 1))


@pytest.mark.parametrize(("p", "low", "high"), [(0.0, 0, 0), (0.5, 0.47, 0.53), (0.9, 0.88, 0.92), (1.0, 1, 1)])
def test_flip_probability(p: float, low: float, high: float) -> None:
    flip = HorizontalFlip(p).draw(key(5000), sizes(5000))["flip"]
    assert flip.dtype == bool
    assert low <= flip.mean() <= high


def test_flip_matrix() -> None:
    matrices = HorizontalFlip().matrix({"flip": np.array([True, False])}, (8, 8))
    assert matrices.dtype == np.float64
    assert np.array_equal(matrices[0] @ [3.5, -1.5, 1], [-3.5, -1.5, 1])
    assert np.array_equal(matrices[1], np.eye(3))


@given(padding=st.integers(0, 6), extra=st.tuples(st.integers(0, 9), st.integers(0, 9)), seed=st.integers(0, 1000))
def test_crop_begins_at_whole_pixels_of_the_padded_picture(padding: int, extra: tuple[int, int], seed: int) -> None:
    height, width = 20, 16
    crop = Crop((height, width), padding)
    drawn = crop.draw(key(200, seed), sizes(200, height + extra[0], width + extra[1]))
    corners = drawn["shift"] + np.array(extra) / 2  # of the centred window plus the shift
    assert np.array_equal(corners, np.rint(corners))
    assert (corners >= -padding).all()
    assert (corners <= np.array(extra) + padding).all()
    matrices = crop.matrix(drawn, (height, width))
    assert matrices.shape == (200, 3, 3)
    assert np.array_equal(matrices[:, 0, 2], drawn["shift"][:, 1])
    assert np.array_equal(matrices[:, 1, 2], drawn["shift"][:, 0])
    assert np.array_equal(matrices[:, :2, :2], np.tile(np.eye(2), (200, 1, 1)))


def test_crop_windows_are_equally_likely() -> None:
    shift = Crop((32, 32), padding=4).draw(key(9000), sizes(9000))["shift"]
    for axis in (0, 1):
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert ((counts > 850) & (counts < 1150)).all()
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.04


def test_crop_without_room_is_the_centre() -> None:
    assert (Crop((32, 32), padding=0).draw(key(50), sizes(50))["shift"] == 0).all()
    assert (Crop((32, 32), padding=2).draw(key(50), sizes(50, 24, 32))["shift"][:, 0] == 0).all()


def test_draws_depend_on_position_not_on_the_batch() -> None:
    whole = key(64, seed=3, epoch=2)
    for augment in (HorizontalFlip(), Crop((32, 32))):
        every = augment.draw(whole, sizes(64))
        for start in (0, 10, 40):
            part = Key(3, 2, np.arange(start, start + 20), "augment")
            for name, values in augment.draw(part, sizes(20)).items():
                assert np.array_equal(values, every[name][start : start + 20])
        other = augment.draw(key(64, seed=3, epoch=1), sizes(64))
        assert any(not np.array_equal(values, every[name]) for name, values in other.items())
