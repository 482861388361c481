"""Augmentations as matrices: what is drawn, the matrices that follow, and the pictures that the core cuts by them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.augments.geometry import CenterCrop, Crop, HorizontalFlip, RandomResizedCrop, Rotate
from clsfit_standard.offers.augments import RandomResizedCropOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, v2

from clsfit.keyed import Key
from clsfit.pipeline import Augmentation, Finish, warp

TF = v2.functional
SIDE = st.integers(1, 60)


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
    for augment in (HorizontalFlip(), Crop((32, 32)), RandomResizedCrop(), Rotate()):
        every = augment.draw(whole, sizes(64))
        for start in (0, 10, 40):
            part = Key(3, 2, np.arange(start, start + 20), "augment")
            for name, values in augment.draw(part, sizes(20)).items():
                assert np.array_equal(values, every[name][start : start + 20])
        other = augment.draw(key(64, seed=3, epoch=1), sizes(64))
        assert any(not np.array_equal(values, every[name]) for name, values in other.items())


def cut(canvas: np.ndarray, size: tuple[int, int], *augments: Any, seed: int = 0, resize: Any = "short") -> np.ndarray:
    """One picture as the per-sample form makes it, uint8 [h, w, C]; ``augments`` draw with ``seed``."""
    finish = Finish(size, canvas.shape[2], resize, (0.5,), (0.25,))
    shape = np.array([canvas.shape[:2]])
    named = Augmentation([(type(augment).__name__, augment) for augment in augments])
    drawn = named.draw(seed, 0, np.arange(1), finish.extents(shape), size)
    plan = warp.plan(size, shape, finish.windows(shape), drawn.matrices)
    out = torch.full((1, *size, canvas.shape[2]), 77, dtype=torch.uint8)
    warp.cut(canvas, plan, 0, out[0])
    return out[0].numpy()


def smooth(high: int, wide: int) -> np.ndarray:
    """A picture without edges, uint8 [h, w, 3]: resampling methods of one kind agree on it."""
    y, x = np.mgrid[:high, :wide].astype(np.float64)
    waves = [127 + 120 * np.sin(x / (9 + 4 * c) + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
    return np.stack(waves, axis=2).round().astype(np.uint8)


def chw(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)


class Boxes(RandomResizedCrop):
    """Boxes that are given, not drawn."""

    def __init__(self, box: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.box = box

    def draw(self, key: Key, sizes: np.ndarray) -> dict[str, np.ndarray]:
        return {"box": np.array([self.box]), "sizes": sizes}


@pytest.mark.parametrize(
    ("high", "wide", "scale", "box"),
    [
        (224, 299, 1, (0, 0, 224, 299)),
        (224, 299, 1, (30, 150, 100, 149)),
        (64, 64, 2, (1, 2, 40, 33)),
        (40, 96, 3, (5, 60, 20, 36)),
        (32, 32, 1, (7, 3, 9, 21)),
    ],
)
def test_boxes_equal_torchvision_resized_crop(high: int, wide: int, scale: int, box: tuple[int, int, int, int]) -> None:
    """On canvases of ``scale`` pixels per pixel of the picture; the box may lie beside the centred window."""
    canvas = np.random.default_rng(high).integers(0, 256, (high * scale, wide * scale, 3), dtype=np.uint8)
    side = min(high, wide)
    made = cut(canvas, (side, side), Boxes(box))
    expected = TF.resized_crop(chw(canvas), *[scale * b for b in box], size=[side, side], antialias=True)
    assert (chw(made).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("high", "wide", "scale", "ratio"),
    [
        (224, 299, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, 32, (0.25, 0.5), (0.5, 3.0)),
        (40, 300, (0.6, 1.0), (3 / 4, 4 / 3)),
        (300, 40, (0.6, 1.0), (1.0, 1.0)),
    ],
)
def test_boxes_are_distributed_as_torchvisions(
    high: int, wide: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    """Quantiles of area and shape; the last two pictures are too long for most boxes, which the fall-back makes."""
    box = RandomResizedCrop(scale, ratio).draw(key(4000), sizes(4000, high, wide))["box"]
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(8, scale=scale, ratio=ratio)
    params = [theirs.make_params([torch.empty(3, high, wide)]) for _ in range(4000)]
    expected = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in params])
    for value in (
        lambda b: b[:, 2] * b[:, 3] / (high * wide),
        lambda b: np.log(b[:, 3] / b[:, 2]),
        lambda b: (b[:, 0] + b[:, 2] / 2) / high,
        lambda b: (b[:, 1] + b[:, 3] / 2) / wide,
    ):
        ours, other = np.quantile(value(box), np.linspace(0.02, 0.98, 25)), value(expected)
        np.testing.assert_allclose(ours, np.quantile(other, np.linspace(0.02, 0.98, 25)), atol=0.035)


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(SIDE, SIDE),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    ratio=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
)
def test_boxes_lie_inside_the_picture(
    shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    augment = RandomResizedCrop((min(scale), max(scale)), (min(ratio), max(ratio)))
    box = augment.draw(key(50), sizes(50, *shape))["box"]
    assert (box[:, :2] >= 0).all()
    assert (box[:, 2:] >= 1).all()
    assert (box[:, :2] + box[:, 2:] <= np.array(shape)).all()


@settings(deadline=None, max_examples=60)
@given(canvas=st.tuples(SIDE, SIDE), size=st.tuples(st.integers(1, 24), st.integers(1, 24)), seed=st.integers(0, 99))
@pytest.mark.parametrize("resize", ["short", "stretch"])
def test_random_resized_crops_show_nothing_but_the_picture(
    resize: str, canvas: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    white = np.full((*canvas, 1), 255, np.uint8)
    assert (cut(white, size, RandomResizedCrop(), HorizontalFlip(), seed=seed, resize=resize) == 255).all()


def test_scale_and_ratio_are_smallest_first() -> None:
    for name in ("scale", "ratio"):
        with pytest.raises(ValueError, match=name):
            RandomResizedCropOptions(**{name: (0.9, 0.1)})


def fixed_angle(degrees: float, corners: Any = "black") -> Rotate:
    augment = Rotate(180.0, corners)
    augment.draw = lambda key, sizes: {"angle": np.array([math.radians(degrees)]), "sizes": sizes}  # type: ignore[method-assign]
    return augment


@pytest.mark.parametrize("angle", [-170.0, -30.0, 7.0, 45.0, 90.0])
def test_rotation_equals_torchvision(angle: float) -> None:
    canvas = smooth(64, 64)
    made = cut(canvas, (64, 64), fixed_angle(angle))
    expected = TF.rotate(chw(canvas), angle, interpolation=InterpolationMode.BILINEAR)
    y, x = np.mgrid[:64, :64] - 31.5
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    reach = np.maximum(np.abs(cos * x - sin * y), np.abs(sin * x + cos * y))
    away = torch.from_numpy(np.abs(reach - 32) > 0.5)  # from the edge, where torchvision fades to black
    assert (chw(made).int() - expected.int()).abs()[:, away].max() <= 1
    assert (made == 0).all(2).any() == (angle % 90 != 0)


def test_a_larger_canvas_fills_the_corners_of_a_rotation() -> None:
    """Turned by 45 degrees the window of 20 needs 28.3 pixels, which a canvas of 20 x 40 has on one side alone."""
    white = np.full((20, 40, 1), 255, np.uint8)
    made = cut(white, (20, 20), fixed_angle(45.0))[:, :, 0]
    assert (made == 0).any()
    assert (made == 255).mean() > 0.8
    assert (made[5:15] == 255).all(), "left and right lie inside the canvas"


@pytest.mark.parametrize(("size", "angle"), [((30, 30), 10.0), ((20, 40), 33.0), ((40, 20), -90.0)])
def test_the_zoom_is_no_larger_than_needed(size: tuple[int, int], angle: float) -> None:
    """The turned window touches the picture: one percent more of it would show black."""
    white = np.full((size[0] * 8, size[1] * 8, 1), 255, np.uint8)
    zoomed = fixed_angle(angle, "zoom")
    assert (cut(white, size, zoomed) == 255).all()
    wider = fixed_angle(angle, "zoom")
    plain = wider.matrix
    wider.matrix = lambda p, s: plain(p, s) * np.array([[1.08, 1.08, 1], [1.08, 1.08, 1], [1, 1, 1]])  # type: ignore[method-assign]
    assert (cut(white, size, wider) == 0).any()


@settings(deadline=None, max_examples=150)
@given(
    canvas=st.tuples(SIDE, SIDE),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    degrees=st.floats(0, 180),
    seed=st.integers(0, 99),
    order=st.sampled_from(["r", "br", "rb", "frc", "crb", "rr"]),
)
@pytest.mark.parametrize("resize", ["short", "stretch"])
def test_a_zoomed_rotation_keeps_white_pictures_white(
    resize: str, canvas: tuple[int, int], size: tuple[int, int], degrees: float, seed: int, order: str
) -> None:
    """No black corner for any size, angle and canvas, alone and together with what moves the window."""
    white = np.full((*canvas, 1), 255, np.uint8)
    kinds = {"r": Rotate(degrees), "b": RandomResizedCrop(), "f": HorizontalFlip(), "c": CenterCrop(0.8)}
    made = cut(white, size, *[kinds[letter] for letter in order], seed=seed, resize=resize)
    assert (made == 255).all()


def test_bars_of_pad_are_not_zoomed_away() -> None:
    white = np.full((20, 40, 1), 255, np.uint8)
    assert (cut(white, (40, 40), Rotate(0.0), resize="pad")[:, :, 0].mean(1) == [0] * 10 + [255] * 20 + [0] * 10).all()


def test_angles_are_uniform() -> None:
    angles = np.rad2deg(Rotate(20.0).draw(key(4000), sizes(4000))["angle"])
    assert np.abs(angles).max() <= 20
    np.testing.assert_allclose(np.quantile(angles, [0.1, 0.5, 0.9]), [-16, 0, 16], atol=0.8)


def test_what_follows_a_center_crop_moves_over_the_whole_picture() -> None:
    """So a training by boxes and a validation by the middle, the usual pair, is the two in this order."""
    canvas = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    whole = RandomResizedCrop((1.0, 1.0), (1.0, 1.0))
    assert (cut(canvas, (32, 32), CenterCrop(0.5), whole) == canvas).all()
    assert (cut(canvas, (32, 32), whole, CenterCrop(0.5)) == cut(canvas, (32, 32), CenterCrop(0.5))).all()


@pytest.mark.parametrize(("high", "wide", "fraction"), [(64, 64, 0.875), (100, 60, 0.5), (48, 80, 1.0)])
def test_center_crop_equals_torchvision(high: int, wide: int, fraction: float) -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    side = min(high, wide)
    made = cut(canvas, (side, side), CenterCrop(fraction))
    inner = int(side * fraction)
    middle = TF.center_crop(chw(canvas), [inner, inner])
    expected = TF.resize(middle, [side, side], antialias=True)
    assert (chw(made).int() - expected.int()).abs().max() <= 1
