"""Pictures: six decoders and no other, whatever a file is called; a bound on pixels before anything is decoded."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from clsfit.data import decode as decoding
from clsfit.data.decode import PictureError, decode, peek
from clsfit.data.prepare import Prepare


def other_format(name: str) -> bytes:
    """The beginning, or the whole, of a file that Pillow would open by another decoder."""
    made = {
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(64),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch mark) (w) file\n",
        "DOS EPS": b"\xc5\xd0\xd3\xc6" + bytes(60),
        "FITS": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + bytes(2720),
        "JP2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
        "J2K": b"\xff\x4f\xff\x51" + bytes(64),
        "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "HTML": b"<!doctype html><title>404</title>",
        "MCIDAS": b"\0\0\0\0\0\0\0\4" + bytes(248),
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(80),
        "SGI": b"\x01\xda\0\1" + bytes(508),
        "script": b"#!/bin/sh\ntouch mark\n",
        "archive": b"PK\x03\x04" + bytes(60),
    }
    if name in made:
        return made[name]
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, name)
    return out.getvalue()


OTHERS = ("PSD", "EPS", "DOS EPS", "FITS", "JP2", "J2K", "PDF", "SVG", "XML", "HTML", "MCIDAS", "WMF", "SGI", "script")
OTHERS += ("archive", "ICO", "ICNS", "TGA", "PPM", "DDS", "PCX", "IM", "MSP", "SPIDER", "XBM", "BLP", "AVIF", "QOI")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Pillow, about formats that it will drop
def test_other_formats_are_refused_by_their_content(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "MSP" or name == "XBM":
        data = b"DanM" + bytes(60) if name == "MSP" else b"#define x_width 8\n#define x_height 8\n"
    elif name == "BLP":
        data = b"BLP2" + bytes(160)
    elif name == "AVIF":
        data = b"\0\0\0\x20ftypavif" + bytes(60)
    elif name == "QOI":
        data = b"qoif" + struct.pack(">IIBB", 4, 4, 3, 0) + bytes(30)
    else:
        data = other_format(name)
    opened: list[object] = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(k.get("formats")) or original(*a, **k))
    for read in (lambda: decode(data, 3), lambda: peek(data), lambda: Prepare(3, 8)(data)):
        with pytest.raises(PictureError, match=r"not an accepted format|header is damaged"):
            read()
    assert all(formats is not None and set(formats) <= set(decoding.ACCEPTED) for formats in opened)


def test_the_list_is_the_short_one() -> None:
    assert set(decoding.ACCEPTED) == {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"}
    assert decoding.MAX_PIXELS <= 50_000_000


def test_an_extension_is_believed_by_no_command(tmp_path: Path) -> None:
    from clsfit.data import sources

    (tmp_path / "a").mkdir()
    for number, name in enumerate(("PSD", "EPS", "SVG", "ICO")):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(other_format(name))
    source = sources.files([str(tmp_path)])
    for row in range(4):
        with pytest.raises(PictureError):
            Prepare(3, 8)(source.read(row))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with almost nothing behind it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bomb(kind: str) -> bytes:
    """A small file of a large picture."""
    out = io.BytesIO()
    if kind == "png":
        Image.new("1", (8000, 8000)).save(out, "PNG")
    elif kind == "gif":
        Image.new("P", (8000, 8000)).save(out, "GIF")
    elif kind == "tiff":
        Image.new("L", (8000, 8000)).save(out, "TIFF", compression="tiff_adobe_deflate")
    elif kind == "webp":
        Image.new("RGB", (8000, 8000)).save(out, "WEBP", lossless=True, method=0)
    else:
        Image.new("RGB", (8000, 8000)).save(out, "JPEG", quality=1)
    return out.getvalue()


@pytest.mark.parametrize("size", [(60_000, 60_000), (50_000_001, 1), (2**31 - 1, 2**31 - 1), (13_000, 13_000)])
def test_a_size_that_is_only_claimed_is_refused(size: tuple[int, int]) -> None:
    for read in (lambda: decode(claims(*size), 3), lambda: peek(claims(*size))):
        with pytest.raises(PictureError, match="million pixels"):
            read()


BOUNDED = """
import resource, sys
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Prepare(3, 32)(open(sys.argv[1], "rb").read())
except PictureError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("kind", ["png", "gif", "tiff", "webp", "jpeg"])
def test_a_bomb_is_refused_before_it_is_decoded(kind: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(kind))
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path / "bomb")], capture_output=True, text=True, timeout=120
    )
    assert "million pixels" in done.stdout, done.stderr
    assert int(done.stdout.split()[0]) < 100, "MB"


def test_torn_pictures_do_not_pass_where_a_library_allows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(out, "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(PictureError, match="truncated"):
        decode(out.getvalue()[: len(out.getvalue()) // 2], 1)


WARNED = """
import sys
from PIL import Image
from clsfit.data import decode as decoding
Image.MAX_IMAGE_PIXELS, decoding.MAX_PIXELS = 100, 10**9
try:
    decoding.decode(sys.stdin.buffer.read(), 3)
except decoding.PictureError as error:
    print(error)
"""


def test_pillow_s_own_warning_about_bombs_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", WARNED], input=claims(11, 11), capture_output=True, timeout=120)
    assert b"million pixels" in done.stdout, done.stderr
