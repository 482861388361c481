"""Canvases: size, colour, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.errors import CheckpointError


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500))
def test_the_short_side_is_at_most_the_canvas_side(height: int, width: int, side: int) -> None:
    made = Prepare(3, side).size(height, width)
    if min(height, width) <= side:
        assert made == (height, width)  # never enlarged
    else:
        assert min(made) == side
        assert abs(max(made) - max(height, width) * side / min(height, width)) <= 0.5
        assert (made[0] <= made[1]) == (height <= width) or made[0] == made[1]


def test_no_side_keeps_the_size() -> None:
    assert Prepare(1, None).size(1000, 7) == (1000, 7)


@pytest.mark.parametrize("channels", [1, 3])
def test_canvas_is_contiguous_read_only_uint8(picture: Callable[..., bytes], channels: int) -> None:
    for side in (None, 4):
        canvas = Prepare(channels, side)(picture(0, 6, 9))
        assert canvas.shape == (*Prepare(channels, side).size(6, 9), channels)
        assert canvas.dtype == np.uint8
        assert canvas.flags.c_contiguous
        assert not canvas.flags.writeable


def test_reducing_is_antialiased(encode: Callable[..., bytes]) -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    canvas = Prepare(1, 8)(encode(Image.fromarray(board)))
    assert np.abs(canvas.astype(int) - 127).max() <= 3  # a sampled checkerboard would be 0 or 255


def test_arrays(picture: Callable[..., bytes]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    gray = rgb[..., 0]
    assert np.array_equal(Prepare(3)(rgb), rgb)
    assert np.array_equal(Prepare(1)(gray)[..., 0], gray)
    assert np.array_equal(Prepare(1)(gray[..., None])[..., 0], gray)
    assert np.array_equal(Prepare(3)(gray), np.repeat(gray[..., None], 3, axis=2))
    assert np.array_equal(Prepare(1)(rgb)[..., 0], np.asarray(Image.fromarray(rgb).convert("L")))
    assert np.array_equal(Prepare(3)(rgb[::-1]), rgb[::-1])
    made = Prepare(3)(rgb)
    kept = made.copy()
    rgb[:] = 0
    assert np.array_equal(made, kept)  # a canvas is a copy


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
        "text",
        None,
    ],
)
def test_other_things_are_refused(wrong: object) -> None:
    with pytest.raises(PictureError):
        Prepare(3)(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("prepare", [Prepare(1, None), Prepare(3, 392)])
def test_json_round_trip(prepare: Prepare) -> None:
    assert Prepare.from_json(prepare.to_json()) == prepare


@pytest.mark.parametrize("wrong", [{}, {"channels": 2, "canvas_side": 1}, {"channels": 3, "canvas_side": "x"}])
def test_damaged_json(wrong: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        Prepare.from_json(wrong)


@pytest.mark.parametrize(("channels", "side"), [(2, None), (3, 0)])
def test_wrong_values(channels: int, side: int | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        Prepare(channels, side)
