import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, v2

from clsfit.pipeline import warp
from clsfit.pipeline.finish import Finish

TF = v2.functional


def cut(canvas, size, resize="short", matrix=None):
    """One picture as the per-sample form makes it, uint8 [C, h, w]."""
    finish = Finish(size, canvas.shape[2], resize, (0.5,), (0.25,))
    sizes = np.array([canvas.shape[:2]], dtype=np.int64)
    plan = warp.plan(size, sizes, finish.windows(sizes), None if matrix is None else np.asarray(matrix, float)[None])
    out = torch.full((1, *size, canvas.shape[2]), 77, dtype=torch.uint8)
    warp.cut(canvas, plan, 0, out[0])
    return out[0].permute(2, 0, 1)


def shift(x, y):
    return [[1, 0, x], [0, 1, y], [0, 0, 1]]


def levels_apart(a, b):
    assert a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


def chw(canvas):
    return torch.from_numpy(canvas.copy()).permute(2, 0, 1)


@pytest.mark.parametrize(("high", "wide"), [(375, 500), (500, 375), (256, 256), (100, 150)])
def test_short_equals_torchvision_resized_crop(smooth, high, wide):
    canvas, side = smooth(high, wide), min(high, wide)
    top, left = (high - side + 1) // 2, (wide - side + 1) // 2
    expected = TF.resized_crop(chw(canvas), top, left, side, side, [224, 224], antialias=True)
    assert levels_apart(cut(canvas, (224, 224)), expected) <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_stretch_equals_torchvision_resize(noise, channels):
    canvas = noise(1, (90, 200), channels)[0]
    expected = TF.resize(chw(canvas), [64, 48], antialias=True)
    assert levels_apart(cut(canvas, (64, 48), "stretch"), expected) <= 1


def test_pad_equals_torchvision_resize_and_pad(noise):
    canvas = noise(1, 1)[0].repeat(300, 0).repeat(400, 1)
    canvas[40:90, 60:200] = 9
    expected = TF.pad(TF.resize(chw(canvas), [168, 224], antialias=True), [0, 28, 0, 28])
    assert levels_apart(cut(canvas, (224, 224), "pad"), expected) <= 1


def test_the_input_size_itself_is_copied(noise):
    canvas = noise(1, 33)[0]
    for resize in ("short", "stretch", "pad"):
        assert torch.equal(cut(canvas, (33, 33), resize), chw(canvas))


@settings(deadline=None, max_examples=60)
@given(
    high=st.integers(3, 14),
    wide=st.integers(3, 14),
    x=st.integers(-20, 20),
    y=st.integers(-20, 20),
    flips=st.tuples(st.booleans(), st.booleans()),
)
def test_integer_shifts_and_flips_are_pad_crop_and_flip(high, wide, x, y, flips):
    canvas = np.random.default_rng(high * 100 + wide).integers(1, 256, (high, wide, 3), dtype=np.uint8)
    mirror = np.diag([-1.0 if flips[1] else 1.0, -1.0 if flips[0] else 1.0, 1.0])
    made = cut(canvas, (high, wide), matrix=np.array(shift(x, y)) @ mirror)
    expected = TF.crop(TF.pad(chw(canvas), [20, 20, 20, 20]), 20 + y, 20 + x, high, wide)
    expected = TF.horizontal_flip(expected) if flips[1] else expected
    assert torch.equal(made, TF.vertical_flip(expected) if flips[0] else expected)


def test_a_window_of_a_larger_canvas_is_copied_at_every_offset(noise):
    canvas = noise(1, 37)[0][:, :32]  # 37 x 32: the centred window starts at 2.5
    for top in range(6):
        assert torch.equal(cut(canvas, (32, 32), matrix=shift(0, top - 2.5)), chw(canvas)[:, top : top + 32])


def test_a_scaled_box_equals_torchvision_resized_crop(noise):
    canvas = noise(1, 200)[0]
    # 0.4 of the 50 pixels of the output, 4 canvas pixels each, around a centre moved by 5 of them: 80 canvas pixels.
    made = cut(canvas, (50, 50), matrix=[[0.4, 0, 5], [0, 0.4, -5], [0, 0, 1]])
    expected = TF.resized_crop(chw(canvas), 40, 80, 80, 80, [50, 50], antialias=True)
    assert levels_apart(made, expected) <= 1


def test_black_begins_at_the_edge_of_the_picture():
    """It is not mixed into pixels that lie inside, as it would be into those that a zoomed rotation shows."""
    c, s = np.cos(0.5), np.sin(0.5)
    made = cut(np.full((40, 40, 1), 200, dtype=np.uint8), (40, 40), matrix=[[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert made.unique().tolist() == [0, 200]


@pytest.mark.parametrize("angle", [-30.0, 7.0, 45.0])
def test_rotation_equals_torchvision(smooth, angle):
    canvas = smooth(64, 64)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    made = cut(canvas, (64, 64), matrix=[[c, -s, 0], [s, c, 0], [0, 0, 1]])
    expected = TF.rotate(chw(canvas), angle, interpolation=InterpolationMode.BILINEAR)
    # torchvision fades to black from half a pixel inside the picture's edge to half a pixel outside.
    y, x = np.mgrid[:64, :64] - 31.5
    reach = np.maximum(np.abs(c * x - s * y), np.abs(s * x + c * y))
    away = torch.from_numpy(np.abs(reach - 32) > 0.5)
    assert levels_apart(made[:, away], expected[:, away]) <= 1
    assert torch.equal((made > 0).all(0)[away], torch.from_numpy(reach < 32)[away])
    assert (made != chw(canvas)).any()


def test_affine_after_the_resize_equals_torchvision(smooth):
    canvas = smooth(128, 160)
    c, s = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    made = cut(canvas, (64, 64), matrix=np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(shift(-3, 4)))
    resized = TF.resize(chw(canvas), [64, 80], antialias=True)
    warped = TF.affine(resized, -20, [3, -4], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    turned = TF.affine(resized, -20, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    expected = TF.affine(turned, 0, [3, -4], 1.0, [0.0, 0.0], interpolation=InterpolationMode.NEAREST)
    inner = (slice(None), slice(16, 48), slice(16, 48))
    assert levels_apart(made[inner], expected[:, :, 8:72][inner]) <= 1
    assert warped.shape == expected.shape


def test_a_minifying_warp_is_antialiased():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    c, s = 4 * np.cos(0.1), 4 * np.sin(0.1)
    made = cut(board, (64, 64), matrix=[[c, -s, 0], [s, c, 0], [0, 0, 1]])[0, 28:36, 28:36]
    assert (made.int() - 127).abs().max() < 20  # without it: 0 and 255


def test_perspective_divides():
    canvas = np.arange(64, dtype=np.uint8)[None, :, None].repeat(64, 0)
    made = cut(canvas, (64, 64), matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]])  # twice the identity is the identity
    assert levels_apart(made, chw(canvas)) <= 1


def test_nothing_visible_is_black(noise):
    canvas = noise(1, 16)[0]
    assert not cut(canvas, (16, 16), matrix=shift(1e12, 0)).any()
    assert not cut(canvas, (16, 16), matrix=[[0.3, 0, 99], [0, 0.3, 0], [0, 0, 1]]).any()
    assert not cut(canvas, (16, 16), matrix=[[0.8, -0.6, 99], [0.6, 0.8, 0], [0, 0, 1]]).any()


@settings(deadline=None, max_examples=60)
@given(canvas=st.tuples(st.integers(1, 40), st.integers(1, 40)), data=st.data())
def test_any_axis_aligned_box_covers_white_canvas_in_one_block(canvas, data):
    number = st.floats(-60, 60, allow_nan=False)
    scale = st.floats(0.01, 8)
    sx, sy = data.draw(scale), data.draw(scale)
    made = cut(
        np.full((*canvas, 1), 255, np.uint8),
        (8, 8),
        "pad",
        [[sx, 0, data.draw(number)], [0, sy, data.draw(number)], [0, 0, 1]],
    )[0]
    assert set(made.unique().tolist()) <= {0, 255}
    assert torch.equal(made > 0, (made > 0).any(1)[:, None] & (made > 0).any(0)[None])


def test_a_read_only_array_makes_no_warning(recwarn, noise):
    array = noise(1, 8)[0]
    array.flags.writeable = False
    assert torch.equal(warp.tensor_of(array), torch.from_numpy(array.copy()))
    assert not recwarn.list


def test_wrong_channels_are_not_broadcast(noise):
    plan = warp.plan((4, 4), np.array([[4, 4]]), np.array([[0.0, 0, 4, 4]]), None)
    with pytest.raises(ValueError, match="channels"):
        warp.cut(noise(1, 4, channels=1)[0], plan, 0, torch.empty(4, 4, 3, dtype=torch.uint8))


@pytest.mark.parametrize("pad", [0, 3, 9])
def test_the_device_form_of_indexing_equals_the_host_form(noise, pad):
    store = np.stack(noise(20, 8))
    generator = np.random.default_rng(1)
    rows = generator.integers(0, 20, 50)
    offsets, flips = generator.integers(-pad, pad + 1, (50, 2)), generator.random((50, 2)) < 0.5
    host = warp.gather_host(store, rows, offsets, flips).permute(0, 3, 1, 2)
    tensor = torch.from_numpy(store).permute(0, 3, 1, 2).contiguous()
    moves = torch.from_numpy(np.concatenate([np.clip(offsets, -8, 8), flips], axis=1).astype(np.int64))
    assert torch.equal(warp.gather_device(tensor, torch.from_numpy(rows), moves, min(pad, 8)), host)
