"""Golden pixels: each kind of file, byte by byte where Pillow cannot write it, with 1 and with 3 channels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsfit.data import decode as decoding
from clsfit.data.decode import ACCEPTED, PictureError, decode, peek


def saved(kind: str, image: Image.Image, **options: Any) -> bytes:
    """What Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of(mode: str, *pixels: Any) -> Image.Image:
    """A picture of one row."""
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return image


def flat(mode: str, colour: Any, **options: Any) -> bytes:
    """A JPEG of one colour: its blocks are exact."""
    return saved("JPEG", Image.new(mode, (8, 8), colour), quality=100, subsampling=0, **options)


def frames(kind: str, **options: Any) -> bytes:
    """Three of them, red, lime, blue."""
    pictures = [of("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    return saved(kind, pictures[0], save_all=True, append_images=pictures[1:], **options)


def paletted(kind: str, **options: Any) -> bytes:
    image = of("P", 0, 1)
    image.putpalette([200, 100, 50, 10, 20, 30])
    return saved(kind, image, **options)


def png(width: int, bits: int, colour: int, row: bytes, **chunks: bytes) -> bytes:
    """One row; ``chunks`` by their names."""
    header = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *((name.encode(), data) for name, data in chunks.items())]
    parts += [(b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    sums = [(name + data, zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(b) - 4) + b + struct.pack(">I", s) for b, s in sums)


def tiff(row: bytes, bits: list[int], photometric: int, order: str = "<", **more: list[int]) -> bytes:
    """One row, uncompressed, with ``order`` "<" for II and ">" for MM; ``more`` as ``t338=[1]``."""
    width = len(row) * 8 // sum(bits)
    shorts = {256: [width], 257: [1], 258: bits, 259: [1], 262: [photometric], 273: [8], 277: [len(bits)], 278: [1]}
    shorts |= {279: [len(row)], **{int(tag[1:]): values for tag, values in more.items()}}
    pixels = row + b"\0" * (len(row) % 2)
    entries, outside, behind = b"", b"", 8 + len(pixels) + 2 + 12 * len(shorts) + 4
    for tag, values in sorted(shorts.items()):
        body = struct.pack(f"{order}{len(values)}H", *values)
        place = body.ljust(4, b"\0") if len(body) <= 4 else struct.pack(f"{order}I", behind + len(outside))
        outside += body if len(body) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels))
    return head + pixels + struct.pack(f"{order}H", len(shorts)) + entries + bytes(4) + outside


def bmp(bits: int, row: bytes, palette: bytes = b"", kind: int = 0, masks: bytes = b"", length: int = 40) -> bytes:
    """Two pixels; ``length`` of the header, beyond 40 bytes with ``masks`` in it."""
    inside = masks.ljust(length - 40, b"\0") if length > 40 else b""
    start = 14 + length + len(palette) + (0 if inside else len(masks))
    header = struct.pack("<IiiHHIIiiII", length, 2, 1, 1, bits, kind, len(row), 0, 0, len(palette) // 4, 0) + inside
    after = b"" if inside else masks
    return b"BM" + struct.pack("<IHHI", start + len(row), 0, 0, start) + header + after + palette + row


def adobe(image: bytes, transform: int | None) -> bytes:
    """A CMYK JPEG whose marker says another transform, or that has no marker."""
    at = image.index(b"\xff\xee\0\x0eAdobe")
    return (
        image[:at] + image[at + 16 :] if transform is None else image[: at + 15] + bytes([transform]) + image[at + 16 :]
    )


def shorts(*values: int, order: str = ">") -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


TWO = bytes([3, 2, 1, 0, 103, 102, 101, 0])  # a palette of BMP: blue, green, red, nothing
TIFF_TWO = [value << 8 for rest in ((1, 101), (2, 102), (3, 103)) for value in (*rest, *[0] * 14)]
RGBA_MASKS = struct.pack("<4I", 255 << 16, 255 << 8, 255, 255 << 24)
RGBA = of("RGBA", (200, 100, 0, 128), (9, 9, 9, 0), (1, 2, 3, 255))
LOSSY = "52494646240000005745425056503820180000003001009d012a0200020002c04c25a400037000fec3e00000"
DEEP = (0x00FF, 0x0100, 0x8000, 0xFFFF)

# What is in the file: its bytes, then the pixels with 3 channels and with 1, in hex.
KINDS: dict[str, tuple[bytes, str, str]] = {
    # palette
    "PNG palette": (paletted("PNG"), "c86432 0a141e", "7c 12"),
    "GIF palette": (paletted("GIF"), "c86432 0a141e", "7c 12"),
    "TIFF palette": (paletted("TIFF"), "c86432 0a141e", "7c 12"),
    "TIFF palette, 4 bits": (tiff(b"\x01", [4], 3, t320=TIFF_TWO), "010203 656667", "02 66"),
    "BMP palette": (paletted("BMP"), "c86432 0a141e", "7c 12"),
    "BMP palette, 4 bits": (bmp(4, b"\x01\0\0\0", TWO), "010203 656667", "02 66"),
    "BMP palette, 1 bit": (bmp(1, b"\x40\0\0\0", TWO), "010203 656667", "02 66"),
    # alpha, transparent colour: 200 * 128/255 + 255 * 127/255 = 227.4
    "PNG palette, one index transparent": (paletted("PNG", transparency=0), "ffffff 0a141e", "ff 12"),
    "PNG palette, alpha of each": (paletted("PNG", transparency=b"\x80\xff"), "e3b198 0a141e", "bd 12"),
    "GIF palette, one index transparent": (paletted("GIF", transparency=1), "c86432 ffffff", "7c ff"),
    "PNG alpha": (saved("PNG", RGBA), "e3b17f ffffff 010203", "ba ff 02"),
    "WebP alpha": (saved("WEBP", RGBA, lossless=True, exact=True), "e3b17f ffffff 010203", "ba ff 02"),
    "TIFF alpha": (saved("TIFF", RGBA), "e3b17f ffffff 010203", "ba ff 02"),
    "TIFF alpha, premultiplied": (tiff(bytes([100, 50, 0, 128]), [8] * 4, 2, t338=[1]), "e3b17f", "ba"),
    "TIFF a fourth value that is no alpha": (tiff(bytes([200, 100, 0, 128]), [8] * 4, 2, t338=[0]), "c86400", "76"),
    "BMP alpha": (
        bmp(32, bytes([0, 100, 200, 128, 9, 9, 9, 0]), kind=3, masks=RGBA_MASKS, length=108),
        "e3b17f ffffff", "ba ff",
    ),
    "BMP a fourth value that is no alpha": (bmp(32, bytes([3, 2, 1, 0, 6, 5, 4, 128])), "010203 040506", "02 05"),
    "PNG gray and alpha": (saved("PNG", of("LA", (200, 128), (9, 0))), "e3e3e3 ffffff", "e3 ff"),
    "PNG gray and alpha, 16 bits": (png(2, 16, 4, shorts(0x0100, 0xFFFF, 9, 0)), "010101 ffffff", "01 ff"),
    "TIFF gray and alpha": (tiff(bytes([200, 128, 9, 0]), [8] * 2, 1, t338=[2]), "e3e3e3 ffffff", "e3 ff"),
    "TIFF gray and alpha, premultiplied": (tiff(bytes([100, 128]), [8] * 2, 1, t338=[1]), "e3e3e3", "e3"),
    "PNG one gray transparent": (png(2, 8, 0, bytes([5, 6]), tRNS=shorts(5)), "ffffff 060606", "ff 06"),
    "PNG one gray of 1 bit transparent": (png(2, 1, 0, b"\x40", tRNS=shorts(0)), "ffffff ffffff", "ff ff"),
    "PNG one gray of 2 bits transparent": (
        png(4, 2, 0, b"\x1b", tRNS=shorts(1)),
        "000000 ffffff aaaaaa ffffff", "00 ff aa ff",
    ),
    "PNG one gray of 4 bits transparent": (png(2, 4, 0, b"\x34", tRNS=shorts(3)), "ffffff 444444", "ff 44"),
    "PNG one gray of 16 bits transparent": (
        png(2, 16, 0, shorts(0x0501, 0x0502), tRNS=shorts(0x0501)),
        "ffffff 050505", "ff 05",
    ),
    "PNG one colour transparent": (
        png(2, 8, 2, bytes([5, 6, 7, 1, 2, 3]), tRNS=shorts(5, 6, 7)),
        "ffffff 010203", "ff 02",
    ),
    "PNG one colour of 16 bits transparent": (
        png(2, 16, 2, shorts(0x0500, 0x0600, 0x0700, 5, 6, 7), tRNS=shorts(0x0500, 0x0600, 0x0700)),
        "ffffff 000000", "ff 00",
    ),
    "PNG no colour of 16 bits transparent": (
        png(2, 16, 2, shorts(0x0500, 0x0600, 0x0700, 0x0900, 0, 0), tRNS=shorts(5, 6, 7)), "050607 090000", "06 03",
    ),
    # 1, 2 and 4 bits
    "PNG 1 bit": (png(2, 1, 0, b"\x40"), "000000 ffffff", "00 ff"),
    "PNG 2 bits": (png(4, 2, 0, b"\x1b"), "000000 555555 aaaaaa ffffff", "00 55 aa ff"),
    "PNG 4 bits": (png(2, 4, 0, b"\x1b"), "111111 bbbbbb", "11 bb"),
    "TIFF 1 bit": (saved("TIFF", of("1", 0, 255)), "000000 ffffff", "00 ff"),
    "TIFF 1 bit, 0 is white": (tiff(b"\x40", [1], 0), "ffffff 000000" + " ffffff" * 6, "ff 00" + " ff" * 6),
    "TIFF 4 bits, 0 is white": (tiff(b"\x1b", [4], 0), "eeeeee 444444", "ee 44"),
    "BMP 1 bit": (saved("BMP", of("1", 0, 255)), "000000 ffffff", "00 ff"),
    # 8 bits
    "JPEG gray": (flat("L", 77), "4d4d4d", "4d"),
    "PNG gray": (saved("PNG", of("L", 0, 124)), "000000 7c7c7c", "00 7c"),
    "GIF gray": (saved("GIF", of("L", 0, 124)), "000000 7c7c7c", "00 7c"),
    "BMP gray": (saved("BMP", of("L", 0, 124)), "000000 7c7c7c", "00 7c"),
    "TIFF gray": (saved("TIFF", of("L", 0, 124)), "000000 7c7c7c", "00 7c"),
    "TIFF gray, 0 is white": (tiff(bytes([0, 10]), [8], 0), "ffffff f5f5f5", "ff f5"),
    "PNG colours": (saved("PNG", of("RGB", (200, 100, 50))), "c86432", "7c"),
    "WebP lossless": (saved("WEBP", of("RGB", (200, 100, 50)), lossless=True), "c86432", "7c"),
    "WebP lossy": (bytes.fromhex(LOSSY), "787878 787878 / 787878 787878", "78 78 / 78 78"),
    "TIFF colours": (saved("TIFF", of("RGB", (200, 100, 50))), "c86432", "7c"),
    "TIFF packed": (saved("TIFF", of("RGB", (200, 100, 50)), compression="tiff_lzw"), "c86432", "7c"),
    "BMP colours": (saved("BMP", of("RGB", (200, 100, 50))), "c86432", "7c"),
    "BMP colours, 5 bits each": (bmp(16, shorts(0x7C00, 0x03FF, order="<")), "ff0000 00ffff", "4c b3"),
    "BMP colours, 5, 6 and 5 bits": (
        bmp(16, shorts(0xF800, 0x07FF, order="<"), b"", 3, struct.pack("<3I", 0xF800, 0x07E0, 0x1F)),
        "ff0000 00ffff", "4c b3",
    ),
    # 16 bits
    "PNG 16 bits": (png(4, 16, 0, shorts(*DEEP)), "000000 010101 808080 ffffff", "00 01 80 ff"),
    "PNG 16 bits, colours": (png(1, 16, 2, shorts(0x0100, 0x80FF, 0xFFFF)), "0180ff", "69"),
    "PNG 16 bits, colours and alpha": (
        png(2, 16, 6, shorts(0x0500, 0x0600, 0x0700, 0xFFFF, 1, 2, 3, 0)),
        "050607 ffffff", "06 ff",
    ),
    "TIFF 16 bits, II": (tiff(shorts(*DEEP, order="<"), [16], 1), "000000 010101 808080 ffffff", "00 01 80 ff"),
    "TIFF 16 bits, MM": (tiff(shorts(*DEEP), [16], 1, ">"), "000000 010101 808080 ffffff", "00 01 80 ff"),
    "TIFF 16 bits, 0 is white": (tiff(shorts(*DEEP, order="<"), [16], 0), "ffffff fefefe 7f7f7f 000000", "ff fe 7f 00"),
    "TIFF 12 bits": (tiff(b"\x12\x3f\xff", [12], 1), "121212 ffffff", "12 ff"),
    "TIFF 16 bits, colours, II": (tiff(shorts(0x0100, 0x80FF, 0xFFFF, order="<"), [16] * 3, 2), "0180ff", "69"),
    "TIFF 16 bits, colours, MM": (tiff(shorts(0x0100, 0x80FF, 0xFFFF), [16] * 3, 2, ">"), "0180ff", "69"),
    # 32 bits
    "TIFF 32-bit integers": (saved("TIFF", of("I", 0, 0x12FF, 65535)), "000000 121212 ffffff", "00 12 ff"),
    "TIFF floats": (saved("TIFF", of("F", 0.0, 0.5, 1.0)), "000000 808080 ffffff", "00 80 ff"),
    # CMYK, YCCK, YCbCr
    "JPEG YCbCr": (flat("RGB", (255, 0, 0)), "fe0000", "4c"),
    "JPEG YCbCr, progressive": (flat("RGB", (255, 0, 0), progressive=True), "fe0000", "4c"),
    "JPEG RGB": (flat("RGB", (200, 40, 90), keep_rgb=True), "c8285a", "5e"),
    "JPEG CMYK": (flat("CMYK", (55, 155, 205, 0)), "c86432", "7c"),
    "JPEG CMYK without Adobe's marker": (adobe(flat("CMYK", (55, 155, 205, 0)), None), "c86432", "7c"),
    "JPEG YCCK": (adobe(flat("CMYK", (155, 127, 27, 0)), 2), "0fe29b", "9b"),  # Y 100, Cb 128, Cr 228, inverted
    "TIFF CMYK": (saved("TIFF", of("CMYK", (55, 155, 205, 0), (0, 0, 0, 255))), "c86432 000000", "7c 00"),
    "TIFF YCbCr": (tiff(bytes([100, 128, 128, 200, 100, 150]), [8] * 3, 6), "646464 e6c196", "64 c8"),
    # several frames or pages
    "GIF of several frames": (frames("GIF"), "ff0000", "4c"),
    "WebP of several frames": (frames("WEBP", lossless=True), "ff0000", "4c"),
    "PNG of several frames": (frames("PNG"), "ff0000", "4c"),
    "PNG of several frames, its own first": (frames("PNG", default_image=True), "ff0000", "4c"),
    "TIFF of several pages": (frames("TIFF"), "ff0000", "4c"),
}  # fmt: skip

REFUSED: Mapping[str, tuple[bytes, str]] = {
    "TIFF CIELAB": (tiff(bytes([100, 0, 0]), [8] * 3, 8), "CIELAB"),
    "TIFF 32-bit integers beyond": (saved("TIFF", of("I", 65536)), "no defined brightness"),
    "TIFF 16-bit integers below": (tiff(b"\xff\xff", [16], 1, t339=[2]), "no defined brightness"),
    "TIFF floats beyond": (saved("TIFF", of("F", 1.5)), "no defined brightness"),
}


def pixels(text: str) -> npt.NDArray[np.uint8]:
    """[H, W, C] of hex."""
    return np.array([[list(bytes.fromhex(pixel)) for pixel in row.split()] for row in text.split("/")], dtype=np.uint8)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_file_has_its_pixels(name: str, channels: int) -> None:
    data, colours, grays = KINDS[name]
    expected = pixels(colours if channels == 3 else grays)
    if name.startswith("JPEG"):
        expected = np.kron(expected, np.ones((8, 8, 1), dtype=np.uint8))
    found = np.asarray(decode(data, channels))
    assert found.reshape(*found.shape[:2], channels).tolist() == expected.tolist()
    header = peek(data)
    assert (header.height, header.width) == expected.shape[:2]
    assert header.format == name.partition(" ")[0].upper()
    assert not header.gray or (pixels(colours) == pixels(colours)[..., :1]).all()


def test_the_table_has_every_format_and_every_line_of_the_manual() -> None:
    assert {name.partition(" ")[0].upper() for name in KINDS} == set(ACCEPTED)
    lines = (decoding.__doc__ or "").split("===\n")[2].splitlines()
    assert [line.split("  ")[0].strip() for line in lines if not line.startswith("=")] == [
        "palette", "alpha, transparent colour", "1, 2 and 4 bits", "16 bits", "32-bit integers", "floats",
        "CMYK, YCCK, YCbCr", "CIELAB", "several frames or pages", "EXIF orientation 1 to 8",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in KINDS if "gray" in name.lower() and not name.startswith("WebP")])
def test_what_has_no_colour_is_known_by_its_header(name: str) -> None:
    assert peek(KINDS[name][0]).gray


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_defined_pixels_is_refused(name: str) -> None:
    data, why = REFUSED[name]
    for channels in (1, 3):
        with pytest.raises(PictureError, match=why):
            decode(data, channels)


UPRIGHT = {
    1: "123/456",
    2: "321/654",
    3: "654/321",
    4: "456/123",
    5: "14/25/36",
    6: "41/52/63",
    7: "63/52/41",
    8: "36/25/14",
}
"""What a camera's mark makes of a picture that is stored as "123/456"."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    stored, upright = (_blocks(UPRIGHT[mark]) for mark in (1, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(
        kind, Image.fromarray(stored), exif=exif, quality=100, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert np.array_equal(np.asarray(decode(data, 1)), upright)
    assert np.array_equal(np.asarray(decode(data, 3)), np.repeat(upright[..., None], 3, axis=2))
    assert (peek(data).height, peek(data).width) == upright.shape


def _blocks(text: str) -> npt.NDArray[np.uint8]:
    """Gray blocks of 8x8 pixels, as a JPEG keeps them."""
    values = np.array([[40 * int(value) for value in row] for row in text.split("/")], dtype=np.uint8)
    return np.kron(values, np.ones((8, 8), dtype=np.uint8))
