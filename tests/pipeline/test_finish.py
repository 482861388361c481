import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from clsfit.errors import ConfigError
from clsfit.pipeline.finish import Finish

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = st.integers(1, 900)


def finish(size=(32, 32), channels=3, resize="short", mean=MEAN, std=STD):
    return Finish(size, channels, resize, mean, std)


def test_json_round_trip():
    made = finish((24, 32), resize="pad")
    assert Finish.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_one_value_stands_for_all_channels():
    assert finish(mean=(0.5,), std=(0.25,)) == finish(mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.5, 0.5)}, {"std": (0.25, 0.0, 0.25)}, {"resize": "crop"}, {"size": (0, 32)}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ConfigError):
        finish(**wrong)


@given(canvas=st.tuples(SIDE, SIDE), size=st.tuples(SIDE, SIDE))
def test_short_is_the_largest_box_of_the_aspect_inside(canvas, size):
    top, left, high, wide = finish(size).windows(np.array([canvas]))[0]
    assert top >= 0
    assert left >= 0
    assert (high == canvas[0] and wide <= canvas[1]) or (wide == canvas[1] and high <= canvas[0])
    assert high * size[1] == pytest.approx(wide * size[0])
    assert (2 * top + high, 2 * left + wide) == pytest.approx(canvas)


@given(canvas=st.tuples(SIDE, SIDE), size=st.tuples(SIDE, SIDE))
def test_pad_is_the_smallest_box_of_the_aspect_around(canvas, size):
    top, left, high, wide = finish(size, resize="pad").windows(np.array([canvas]))[0]
    assert top <= 0
    assert left <= 0
    assert (high == canvas[0] and wide >= canvas[1]) or (wide == canvas[1] and high >= canvas[0])
    assert high * size[1] == pytest.approx(wide * size[0])
    assert (2 * top + high, 2 * left + wide) == pytest.approx(canvas)


@given(canvas=st.tuples(SIDE, SIDE), size=st.tuples(SIDE, SIDE))
def test_stretch_is_the_canvas(canvas, size):
    assert finish(size, resize="stretch").windows(np.array([canvas]))[0].tolist() == [0, 0, *canvas]


def test_extents_are_the_whole_pixels_of_the_resized_pictures():
    sizes = np.array([[375, 500], [500, 375], [224, 224]])  # 375 x 500 becomes 224 x 298.67
    assert finish((224, 224)).extents(sizes).tolist() == [[224, 298], [298, 224], [224, 224]]
    assert finish((224, 224), resize="pad").extents(sizes).tolist() == [[168, 224], [224, 168], [224, 224]]
    assert finish((224, 224), resize="stretch").extents(sizes).tolist() == [[224, 224]] * 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalise_equals_torchvision(channels, layout):
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * channels * 2).view(2, channels, 16, 32)
    made = finish((16, 32), channels, mean=MEAN[:channels], std=STD[:channels])
    scaled = v2.functional.to_dtype(images, torch.float32, scale=True)
    expected = v2.functional.normalize(scaled, list(MEAN[:channels]), list(STD[:channels]))
    result = made.normalise(images.to(memory_format=layout), layout)
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_normalise_gives_the_same_bits_in_every_layout_and_batch():
    images = torch.randint(0, 256, (5, 3, 7, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = finish((7, 9))
    plain = made.normalise(images)
    packed = images.contiguous(memory_format=torch.channels_last)
    for source in (images, packed):
        for layout in (torch.contiguous_format, torch.channels_last):
            assert torch.equal(made.normalise(source, layout), plain)
    assert torch.equal(torch.cat([made.normalise(image[None]) for image in images]), plain)
