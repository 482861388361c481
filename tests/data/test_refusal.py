"""What is no picture, or not a whole one, is refused with a reason; nothing large is decoded to find out."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile

from clsfit.data.decode import MAX_PIXELS, PictureError, decode, peek

Encode = Callable[..., bytes]


def _pixels(data: bytes, channels: int = 3) -> npt.NDArray[np.uint8]:
    return np.asarray(decode(data, channels))


def _random(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just text, called .jpg", "not an accepted format"),
        (b"<!DOCTYPE html><title>404</title>", "not an accepted format"),
        (b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x01\0\0\0\x01\0\x08\0\x03" + bytes(60), "not an accepted format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an accepted format"),
        (b"%PDF-1.4\n", "not an accepted format"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "not an accepted format"),
        (b"SIMPLE  =                    T" + bytes(100), "not an accepted format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an accepted format"),
        (b"P6 1 1 255\n\0\0\0", "not an accepted format"),
        (b"\0\0\0\x1cftypavif" + bytes(40), "not an accepted format"),
        (b"RIFF\x10\0\0\0AVI LIST" + bytes(40), "header is damaged"),
        (b"\xff\xd8\xff\xe0", "header is damaged"),
        (b"\x89PNG\r\n\x1a\n", "header is damaged"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    for call in (lambda: decode(data, 3), lambda: peek(data)):
        with pytest.raises(PictureError, match=reason) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1


def test_only_the_six_decoders_run(encode: Encode) -> None:
    for kind in ("PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI", "DDS", "AVIF"):
        with pytest.raises(PictureError):
            decode(encode(Image.new("RGB", (16, 16)), kind), 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_torn_pictures_are_refused(encode: Encode, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as another library may have left it
    whole = encode(Image.fromarray(_random(64, 64, 3)), kind)
    assert _pixels(whole).shape == (64, 64, 3)
    for share in (0.05, 0.3, 0.6, 0.9):
        with pytest.raises(PictureError):
            decode(whole[: int(len(whole) * share)], 3)


@pytest.mark.filterwarnings("ignore")  # pytest resets the filter that makes it an error
@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (9_000, 6_000), (2**31 - 1, 1)])
def test_a_claim_of_too_many_pixels_is_refused_from_the_header(size: tuple[int, int]) -> None:
    data = _png(*size, 8, 2, b"\0" * 1000)
    tracemalloc.start()
    for call in (lambda: decode(data, 3), lambda: peek(data)):
        with pytest.raises(PictureError, match="million pixels"):
            call()
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_jpeg_and_gif_claims_too(encode: Encode) -> None:
    jpeg = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    start = jpeg.find(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    gif = bytearray(encode(Image.new("RGB", (16, 16)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    for data in (bytes(jpeg), bytes(gif)):
        with pytest.raises(PictureError, match="million pixels"):
            decode(data, 3)


def test_the_largest_allowed_header_is_accepted() -> None:
    width = 10_000
    assert peek(_png(width, MAX_PIXELS // width, 8, 2, b"")).width == width


def test_extreme_shapes(encode: Encode) -> None:
    assert _pixels(encode(Image.new("RGB", (1, 1)))).shape == (1, 1, 3)
    assert _pixels(encode(Image.new("RGB", (5000, 1)))).shape == (1, 5000, 3)


@pytest.mark.filterwarnings("ignore")
def test_any_bytes_give_pixels_or_a_reason(encode: Encode) -> None:
    random = np.random.default_rng(3)
    wholes = [
        encode(Image.fromarray(_random(12, 10, 3)), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
    ]
    outcomes = set()
    for turn in range(600):
        data = bytearray(wholes[turn % 6])
        for place in random.integers(0, len(data), 1 + turn % 5):
            data[place] = random.integers(256)
        try:
            assert np.asarray(decode(bytes(data), 3)).dtype == np.uint8
            outcomes.add("pixels")
        except PictureError as error:
            outcomes.add("reason" if str(error).isprintable() else "unprintable")
    assert outcomes == {"pixels", "reason"}
