"""The short way for plain JPEG files: what Pillow's own reader says, for every file, whole or damaged."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import jpeg
from clsfit.data.decode import PictureError, decode, peek

PLAIN: dict[str, dict[str, Any]] = {
    "usual": {},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "restart markers": {"restart_marker_blocks": 2},
    "no subsampling": {"subsampling": 0, "quality": 100},
    "coarse": {"quality": 3},
    "comment": {"comment": b"by hand"},
}


def _jpeg(mode: str = "RGB", size: tuple[int, int] = (21, 13), **options: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def _outcome(data: bytes, channels: int) -> tuple[Any, ...]:
    """What becomes of a file: its header or the reason for none, its pixels or the reason for none."""
    found: list[Any] = []
    for read in (lambda: peek(data), lambda: decode(data, channels)):
        try:
            result = read()
        except PictureError as error:
            found.append(str(error))
        else:
            found.append((result.mode, result.size, result.tobytes()) if isinstance(result, Image.Image) else result)
    return tuple(found)


@pytest.fixture
def by_pillow(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], tuple[Any, ...]]:
    """``by_pillow(data, channels)``: the outcome without the short way."""

    def run(data: bytes, channels: int) -> tuple[Any, ...]:
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "frame", lambda data: None)
            return _outcome(data, channels)

    return run


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_plain_files_go_the_short_way_to_the_same_bits(name: str, mode: str, by_pillow: Callable[..., Any]) -> None:
    data = _jpeg(mode, **PLAIN[name])
    assert jpeg.frame(data) == (13, 21, mode)
    found = jpeg.pixels(data)
    assert found is not None
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(found), np.asarray(image))
    for channels in (1, 3):
        assert _outcome(data, channels) == by_pillow(data, channels)


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def _of_size(height: int, width: int) -> bytes:
    """A header that claims another size."""
    return _jpeg().replace(struct.pack(">HH", 13, 21), struct.pack(">HH", height, width))


def _four_layers() -> bytes:
    """A picture of four colours that says of itself what those of three say."""
    data = _jpeg("CMYK")
    adobe = data.index(b"\xff\xee")
    return _jpeg()[:20] + data[2:adobe] + data[adobe + 16 :]


@pytest.mark.parametrize(
    "data",
    [
        _jpeg(exif=_exif(6)),
        _jpeg(exif=_exif(1)),
        _jpeg("CMYK"),
        _jpeg(icc_profile=b"profile"),
        _jpeg(size=(1100, 1000)),
        _four_layers(),
        _of_size(0, 21),
        _of_size(13, 0),
        _of_size(40_000, 40_000),
        _jpeg()[:-2],
        _jpeg()[:200],
        b"\xff\xd8\xff",
    ],
    ids=[
        "turned",
        "exif",
        "CMYK",
        "profile",
        "large",
        "layers",
        "flat",
        "narrow",
        "huge",
        "no end",
        "no scan",
        "nothing",
    ],
)
def test_any_other_file_is_left_to_pillow(data: bytes, by_pillow: Callable[..., Any]) -> None:
    assert jpeg.pixels(data) is None
    for channels in (1, 3):
        assert _outcome(data, channels) == by_pillow(data, channels)


def test_a_file_of_several_blocks_is_left_to_pillow() -> None:
    data = _jpeg(size=(400, 300), quality=100, subsampling=0)
    assert len(data) > jpeg.MAX_BYTES
    assert jpeg.frame(data) == (300, 400, "RGB")  # its header is plain nevertheless
    assert jpeg.pixels(data) is None


def test_the_beginning_of_a_file_tells_as_much_as_the_whole() -> None:
    data = _jpeg()
    scan = data.index(b"\xff\xda")
    for length in range(len(data)):
        assert jpeg.frame(data[:length]) == ((13, 21, "RGB") if length >= scan + 14 else None)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_end_as_by_pillow(seed: int, by_pillow: Callable[..., Any]) -> None:
    rng = random.Random(seed)
    whole = [_jpeg(mode, **options) for mode in ("L", "RGB", "CMYK") for options in PLAIN.values()]
    short = 0
    for _ in range(1500):
        data = bytearray(rng.choice(whole))
        spots = [place for place in range(len(data) - 1) if data[place] == 0xFF]
        for _ in range(rng.randrange(1, 4)):
            place = rng.choice([rng.choice(spots) + rng.randrange(1, 12), rng.randrange(len(data))]) % len(data)
            act = rng.randrange(5)
            if act == 0:
                data[place] = rng.randrange(256)
            elif act == 1:
                data[place] ^= 1 << rng.randrange(8)
            elif act == 2:
                data[place:place] = rng.choice([b"\xff", b"\xff\xd9", b"\xff\xc0\x00\x0b\x08\0\5\0\5\1\1\x11\0", b"\0"])
            elif act == 3:
                del data[place : place + rng.randrange(1, 5)]
            else:
                del data[max(place, 30) :]
        channels = rng.choice([1, 3])
        assert _outcome(bytes(data), channels) == by_pillow(bytes(data), channels), bytes(data).hex()
        short += jpeg.pixels(bytes(data)) is not None
    assert short > 100  # else nothing was compared
