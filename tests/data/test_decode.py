"""Every kind of picture has one defined result, for all values; see also :mod:`test_decode_golden`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsfit.data.decode import PictureError, decode, peek

Encode = Callable[..., bytes]


def _pixels(data: bytes, channels: int = 3) -> npt.NDArray[np.uint8]:
    return np.asarray(decode(data, channels))


def _random(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _luma(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """ITU-R 601 in 16-bit fixed point."""
    return ((rgb.astype(np.int64) @ [19595, 38470, 7471] + 0x8000) >> 16).astype(np.uint8)


def _over_white(colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_rgb_and_its_luma(encode: Encode, kind: str) -> None:
    rgb = _random(5, 7, 3)
    data = encode(Image.fromarray(rgb), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(_pixels(data), rgb)
    assert np.array_equal(_pixels(data, 1), _luma(rgb))
    assert (peek(data).height, peek(data).width, peek(data).gray) == (5, 7, False)


def test_gray_is_repeated(encode: Encode) -> None:
    gray = _random(4, 3)
    data = encode(Image.fromarray(gray))
    assert np.array_equal(_pixels(data, 1), gray)
    assert np.array_equal(_pixels(data), np.repeat(gray[..., None], 3, axis=2))
    assert peek(data).gray


def test_alpha_goes_over_white(encode: Encode) -> None:
    rgba = _random(16, 16, 4)
    data = encode(Image.fromarray(rgba, "RGBA"))
    assert np.abs(_pixels(data) - _over_white(rgba[..., :3], rgba[..., 3])).max() <= 1
    rgba[..., 3] = 0
    assert (_pixels(encode(Image.fromarray(rgba, "RGBA"))) == 255).all()


def test_gray_with_alpha(encode: Encode) -> None:
    la = _random(16, 16, 2)
    data = encode(Image.fromarray(la, "LA"))
    expected = _over_white(la[..., :1], la[..., 1])[..., 0]
    assert np.abs(_pixels(data, 1) - expected).max() <= 1
    assert np.array_equal(_pixels(data)[..., 0], _pixels(data, 1))
    assert peek(data).gray


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette(encode: Encode, kind: str) -> None:
    colours, index = _random(256, 3), np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    data = encode(image, kind)
    assert np.array_equal(_pixels(data), colours[index])
    assert np.array_equal(_pixels(data, 1), _luma(colours[index]))
    assert not peek(data).gray


def test_palette_of_grays_is_gray(encode: Encode) -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), "P")
    image.putpalette(bytes([0, 0, 0, 9, 9, 9, 77, 77, 77, 200, 200, 200]))
    data = encode(image)
    assert peek(data).gray
    assert _pixels(data, 1).ravel().tolist() == [0, 9, 77, 200]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency(encode: Encode, kind: str) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    image.putpalette(bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]))
    data = encode(image, kind, transparency=1)
    assert _pixels(data).tolist() == [[[10, 20, 30], [255] * 3], [[70, 80, 90], [255] * 3]]


def test_palette_with_an_alpha_for_each_colour(encode: Encode) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette(bytes([0, 0, 0, 100, 100, 100]))
    data = encode(image, transparency=bytes([51, 255]))
    assert _pixels(data).tolist() == [[[204] * 3, [100] * 3]]


def test_a_transparent_colour_is_white(encode: Encode) -> None:
    gray = np.array([[5, 6]], dtype=np.uint8)
    assert _pixels(encode(Image.fromarray(gray), transparency=5), 1).tolist() == [[255, 6]]
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    assert _pixels(encode(Image.fromarray(rgb), transparency=(1, 2, 3))).tolist() == [[[255] * 3, [4, 5, 6]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(encode: Encode, kind: str) -> None:
    deep = np.array([[0, 255, 256, 257], [1000, 32768, 65279, 65535]], dtype=np.uint16)
    data = encode(Image.fromarray(deep), kind)
    assert _pixels(data, 1).tolist() == [[0, 0, 1, 1], [3, 128, 254, 255]]
    assert np.array_equal(_pixels(data)[..., 2], _pixels(data, 1))
    assert peek(data).gray
    same = encode(Image.fromarray(_random(4, 4).astype(np.uint16) * 257), kind)
    assert np.array_equal(_pixels(same, 1), _random(4, 4))


def test_thirty_two_bit_integers(encode: Encode) -> None:
    inside = np.array([[0, 256, 65535]], dtype=np.int32)
    assert _pixels(encode(Image.fromarray(inside), "TIFF"), 1).tolist() == [[0, 1, 255]]
    for outside in (-1, 65536):
        with pytest.raises(PictureError, match="no defined brightness"):
            decode(encode(Image.fromarray(np.array([[outside]], dtype=np.int32)), "TIFF"), 1)


def test_floats(encode: Encode) -> None:
    data = encode(Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), "TIFF")
    assert _pixels(data, 1).tolist() == [[0, 128, 255]]
    assert peek(data).gray
    for outside in (-0.01, 1.5, np.nan, np.inf):
        with pytest.raises(PictureError, match="no defined brightness"):
            decode(encode(Image.fromarray(np.array([[outside]], dtype=np.float32)), "TIFF"), 1)


def test_cmyk(encode: Encode) -> None:
    cmyk = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert _pixels(encode(cmyk, "TIFF"))[0, 0].tolist() == [0, 255, 255]
    assert np.abs(_pixels(encode(cmyk, "JPEG", quality=100))[4, 4].astype(int) - [0, 255, 255]).max() <= 3
    assert not peek(encode(cmyk, "JPEG")).gray


def test_ycbcr_jpeg_and_gray_jpeg(encode: Encode) -> None:
    red = encode(Image.new("RGB", (8, 8), (250, 10, 20)), "JPEG", quality=100)
    assert np.abs(_pixels(red)[4, 4].astype(int) - [250, 10, 20]).max() <= 3
    gray = encode(Image.new("L", (8, 8), 77), "JPEG", quality=100)
    assert (_pixels(gray) == 77).all()
    assert peek(gray).gray


def test_a_turned_picture_keeps_its_transparency(encode: Encode) -> None:
    image = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8), "P")
    image.putpalette(bytes([10, 20, 30, 40, 50, 60]))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image, transparency=0, exif=exif)
    assert _pixels(data).tolist() == [[[255] * 3], [[40, 50, 60]], [[40, 50, 60]]]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_none(encode: Encode, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert _pixels(encode(Image.new("RGB", (3, 2)), exif=exif)).shape == (2, 3, 3)


@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_is_no_damage_of_the_picture(encode: Encode) -> None:
    data = encode(Image.new("RGB", (3, 2)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert _pixels(data).shape == (2, 3, 3)
