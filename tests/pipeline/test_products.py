"""Two products cut a picture: the same bits whatever is done beside it, one grey level from a resize on the host."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from clsfit.pipeline import products, warp

TF = v2.functional
SEEDS = st.integers(0, 2**32 - 1)


def pictures(generator, count, channels, low, high):
    """Noise, black and white, stripes or one level: [h, w, C] uint8, each of its own size."""
    made = []
    for _ in range(count):
        size = generator.integers(low, high + 1, 2)
        kind = generator.integers(4)
        pixels = generator.integers(0, 256, (*size, channels))
        if kind == 1:
            pixels = (pixels > 127) * 255
        elif kind == 2:
            pixels[:] = pixels[:1] if generator.random() < 0.5 else pixels[:, :1]
        elif kind == 3:
            pixels[:] = pixels[0, 0]
        made.append(pixels.astype(np.uint8))
    return made


def between(generator, limit):
    """[start, stop) within [0, limit), at least one long; one time in four it is one long, or all."""
    start = int(generator.integers(limit))
    stop = int(generator.integers(start + 1, limit + 1))
    return ((start, stop), (start, stop), (start, start + 1), (0, limit))[generator.integers(4)]


def drawn(seed, count=5, channels=3, size=None):
    """Pictures, a box of each, where it goes, flips, and the size of the output."""
    generator = np.random.default_rng(seed)
    size = size or tuple(generator.integers(1, 25, 2).tolist())
    canvases = pictures(generator, count, channels, 1, 60)
    sides = [[(canvas.shape[axis], size[axis]) for axis in (0, 1)] for canvas in canvases]
    spans = [[edge for side in both for limit in side for edge in between(generator, limit)] for both in sides]
    return canvases, np.array(spans), generator.random((count, 2)) < 0.5, size


def padded(canvases, more=(0, 0), fill=0):
    """uint8 [N, C, H, W]."""
    high, wide = (max(canvas.shape[axis] for canvas in canvases) + more[axis] for axis in (0, 1))
    out = torch.full((len(canvases), high, wide, canvases[0].shape[2]), fill, dtype=torch.uint8)
    for place, canvas in zip(out.numpy(), canvases, strict=True):
        place[: canvas.shape[0], : canvas.shape[1]] = canvas
    return out.permute(0, 3, 1, 2)


def cut(canvases, spans, flips, size, *, most=None, more=(0, 0), fill=0):
    table = torch.from_numpy(products.boxes(spans, flips))
    return products.cut(padded(canvases, more, fill), table, most or products.taps(spans), size)


def on_host(canvases, spans, flips, size):
    """The same by :func:`warp.cut`."""
    count = len(canvases)
    no = np.zeros(count, dtype=bool)
    plan = warp.Plan(no, no, np.zeros((count, 2), int), spans, flips, np.zeros((count, 3, 3)))
    out = torch.full((count, *size, canvases[0].shape[2]), 77, dtype=torch.uint8)
    for k, canvas in enumerate(canvases):
        warp.cut(canvas, plan, k, out[k])
    return out.permute(0, 3, 1, 2)


def levels_apart(a, b):
    assert a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.tuples(st.integers(0, 40), st.integers(0, 40)), st.integers(0, 255))
def test_neither_neighbours_nor_padding_change_a_bit(seed, more, fill):
    canvases, spans, flips, size = drawn(seed)
    expected = cut(canvases, spans, flips, size)
    assert torch.equal(cut(canvases, spans, flips, size, more=more, fill=fill), expected)
    assert torch.equal(cut(canvases, spans, flips, size, most=200), expected)
    for k, canvas in enumerate(canvases):
        one = slice(k, k + 1)
        assert torch.equal(cut([canvas], spans[one], flips[one], size), expected[one])


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_no_sum_is_rounded(seed):
    """Twice the digits, another order of the sums, less than TF32's digits in the factors: all the same."""
    canvases, spans, flips, size = drawn(seed)
    pixels, most = padded(canvases), products.taps(spans)
    table = torch.from_numpy(products.boxes(spans, flips))
    high, wide = pixels.shape[2:]
    rows = products.weights(table[:, :4], table[:, 8], size[0], high, most, 1 / 8)
    columns = products.weights(table[:, 4:8], table[:, 9], size[1], wide, most, 8.0)
    for found in (rows, columns):
        assert not (found.view(torch.int32) & 0x1FFF).any()  # of float32's 23 bits TF32 keeps the first 10
    expected = products.levels(pixels, rows, columns)
    assert torch.equal(products.levels(pixels, rows.double(), columns.double()), expected.double())
    down, across = (torch.randperm(n, generator=torch.Generator().manual_seed(seed % 999)) for n in (high, wide))
    shuffled = products.levels(pixels[:, :, down][:, :, :, across], rows[:, :, down], columns[:, :, across])
    assert torch.equal(shuffled, expected)
    assert torch.equal(expected.to(torch.uint8), cut(canvases, spans, flips, size))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 9), st.booleans())
def test_weights_fill_the_whole(taken, given_, beside, flip):
    spans = torch.tensor([[beside, beside + taken, beside, beside + given_]])
    most = products.taps(torch.cat([spans, spans], dim=1).numpy())
    extent, length = taken + 2 * beside, given_ + 2 * beside
    found = products.weights(spans, torch.tensor([int(flip)]), length, extent, most)[0].double()
    found = found.flip(0) if flip else found
    inside = slice(beside, beside + given_)
    assert (found[inside].sum(1) == 1).all()
    assert (found >= 0).all()
    found[inside, beside : beside + taken] = 0
    assert not found.any()


def test_weights_are_those_of_the_antialiased_resize():
    for taken, given_ in [(392, 224), (100, 224), (301, 100), (224, 224), (1, 5), (5, 1)]:
        spans = torch.tensor([[0, taken, 0, given_]])
        most = products.taps(torch.cat([spans, spans], dim=1).numpy())
        found = products.weights(spans, torch.tensor([0]), given_, taken, most)[0]
        impulses = torch.eye(taken, dtype=torch.float64)[None, None]
        size = (taken, given_)
        expected = torch.nn.functional.interpolate(impulses, size=size, mode="bilinear", antialias=True)[0, 0].T
        assert (found - expected).abs().max() <= 2**-11
        assert ((found > 0).sum(1) <= most).all()


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([1, 3]))
def test_one_grey_level_from_the_host_at_most(seed, channels):
    canvases, spans, flips, size = drawn(seed, channels=channels)
    assert levels_apart(cut(canvases, spans, flips, size), on_host(canvases, spans, flips, size)) <= 1


@pytest.mark.parametrize("seed", [287, 355, 799, 865, 894])
def test_one_rounding_to_whole_levels_and_not_two(seed):
    """Were levels whole between the products, a value or two of these would be two levels off."""
    canvases, spans, flips, size = drawn(seed, count=8, size=(40, 36))
    assert levels_apart(cut(canvases, spans, flips, size), on_host(canvases, spans, flips, size)) == 1


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([1, 3]), st.floats(0.3, 3))
def test_one_grey_level_from_torchvision_at_most(seed, channels, scale):
    generator = np.random.default_rng(seed)
    size = (24, 20)
    high, wide = (max(1, round(scale * side)) for side in size)
    [canvas] = pictures(generator, 1, channels, 72, 80)
    top, left = (int(generator.integers(limit)) for limit in (canvas.shape[0] - high + 1, canvas.shape[1] - wide + 1))
    spans = np.array([[top, top + high, 0, size[0], left, left + wide, 0, size[1]]])
    picture = torch.from_numpy(canvas).permute(2, 0, 1)
    expected = TF.horizontal_flip(TF.resized_crop(picture, top, left, high, wide, list(size), antialias=True))
    found = cut([canvas], spans, np.array([[False, True]]), size)[0]
    assert levels_apart(found, expected) <= 1
    assert levels_apart(found.flip(1), cut([canvas], spans, np.array([[True, True]]), size)[0]) == 0


def test_a_box_of_the_pictures_size_is_copied():
    canvases = pictures(np.random.default_rng(3), 6, 3, 30, 40)
    spans = np.tile([4, 14, 0, 10, 7, 19, 0, 12], (6, 1))
    found = cut(canvases, spans, np.zeros((6, 2), bool), (10, 12))
    assert torch.equal(found, padded([canvas[4:14, 7:19] for canvas in canvases]))


def test_nothing_visible_is_black():
    canvases = pictures(np.random.default_rng(4), 3, 3, 9, 9)
    spans = np.array([[0, 9, 3, 3, 0, 9, 0, 8], [0, 1, 0, 8, 8, 9, 8, 8], [0] * 8])
    assert not cut(canvases, spans, np.zeros((3, 2), bool), (8, 8)).any()


def test_how_many_are_multiplied_at_once_changes_no_bit(monkeypatch):
    canvases, spans, flips, size = drawn(7, count=9)
    expected = cut(canvases, spans, flips, size)
    which = torch.tensor([4, 4, 0, 8])
    store, most = padded(canvases), products.taps(spans)
    table = torch.from_numpy(products.boxes(spans, flips))
    for limit in (1, 4 * 3 * 60 * 60 * 2, 1 << 30):
        monkeypatch.setattr(products, "_BYTES", limit)
        assert torch.equal(cut(canvases, spans, flips, size), expected)
        assert torch.equal(products.cut(store, table[which], most, size, which), expected[which])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_surrounding_autocast_changes_no_bit(dtype):
    canvases, spans, flips, size = drawn(8)
    expected = cut(canvases, spans, flips, size)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(cut(canvases, spans, flips, size), expected)


def test_memory_formats_change_no_bit():
    canvases, spans, flips, size = drawn(9)
    table, most = torch.from_numpy(products.boxes(spans, flips)), products.taps(spans)
    last = padded(canvases)
    assert not last.is_contiguous()
    assert torch.equal(products.cut(last, table, most, size), products.cut(last.contiguous(), table, most, size))
    assert products.cut(last, table, most, size).is_contiguous()
