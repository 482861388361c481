"""From a file's bytes to pixels, with one defined result for every kind of picture.

==========================  ===============================================================
in the file                 becomes
==========================  ===============================================================
palette                     its colours
alpha, transparent colour   composited over white
1, 2 and 4 bits             0 to 255 in equal steps
16 bits                     the high byte of the full range (scaled, never clipped)
32-bit integers             0..65535 as 16 bits; anything outside is refused
floats                      0..1 as 0..255, rounded; anything outside is refused
CMYK, YCCK, YCbCr           RGB, as Pillow converts
CIELAB                      refused
several frames or pages     the first
EXIF orientation 1 to 8     applied
==========================  ===============================================================

Gray from colour is ITU-R 601 luma, as Pillow's ``convert("L")``; colour from gray repeats it. A transparent
colour of 16 bits in a picture of colours is compared by its high bytes.

Only six decoders can run, whatever a file is called, and the number of pixels is bounded by the
header before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageFile, UnidentifiedImageError

from clsfit.data import jpeg
from clsfit.errors import printable

ACCEPTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names of the formats that may be decoded."""

MAX_PIXELS = 50_000_000
"""A header that claims more is refused."""

_MEANING = 2  # to be raised where the same file would get other pixels, or another header

# Pillow remarks on damaged notes in a file; what matters about a picture is an error here, the rest is nothing.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II", "TIFF"),
    (b"MM", "TIFF"),
)
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_DEPTH, _PNG_KIND = 24, 25  # places in a file
_PNG_GRAY_ALPHA = 4  # read as RGBA where it has 16 bits
_HAVE_EXIF = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


class PictureError(Exception):
    """A picture cannot be used; the text says why, in one line, without its path."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says.

    Attributes:
        height: rows of pixels, once the orientation is applied.
        width: columns of pixels, once the orientation is applied.
        gray: whether it has no colour.
        format: one of :data:`ACCEPTED`; empty where it comes from no file.
        mode: Pillow's name of what a pixel is; empty where it comes from no file.
    """

    height: int
    width: int
    gray: bool
    format: str = ""
    mode: str = ""


def made_by() -> str:
    """By what pixels are made: a part of the key of whatever is remembered of a picture."""
    return f"decode {_MEANING}, Pillow {PIL.__version__}"


def decode(data: bytes, channels: int) -> Image.Image:
    """The picture in ``data``: mode "L" for 1 channel, "RGB" for 3, upright.

    Raises:
        PictureError: it is in none of the accepted formats, is torn, is too large, or has no
            defined conversion.
    """
    try:
        plain = jpeg.pixels(data)
        if plain is not None:
            return convert(plain, channels)
        image = _open(data)
        image.load()
        _scale_transparent(image, data)
        return convert(_upright(image), channels)
    except PictureError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on bytes they did not expect
        raise PictureError(_reason(error)) from error


def peek(data: bytes) -> Header:
    """What the header says, without decoding; the beginning of a file is often enough.

    Raises:
        PictureError: as :func:`decode`, as far as a header can tell.
    """
    plain = jpeg.frame(data)
    if plain is not None:
        return Header(plain[0], plain[1], plain[2] == "L", "JPEG", plain[2])
    try:
        image = _open(data)
        width, height = image.size
        if image.format != "TIFF" and _orientation(image) >= 5:  # Pillow has already turned a TIFF's size
            width, height = height, width
        gray = _is_gray(image) or (image.format == "PNG" and data[_PNG_KIND] == _PNG_GRAY_ALPHA)
        return Header(height, width, gray, image.format or "", image.mode)
    except PictureError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(_reason(error)) from error


def convert(image: Image.Image, channels: int) -> Image.Image:
    """``image`` of any mode in mode "L" (1 channel) or "RGB" (3), as the table above says.

    Raises:
        PictureError: its values have no defined conversion.
    """
    if image.mode == "LAB":
        raise PictureError("CIELAB colours have no defined conversion")
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(image))
    elif image.mode == "La":  # which Pillow turns into nothing else
        image = _over_white(image.convert("LA"))
    elif image.mode in {"LA", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        image = _over_white(image)
    elif image.mode == "P":
        image = image.convert("RGB")
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise PictureError("empty file")
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a library that switched it on must not make torn pictures pass
    kind = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    try:
        if kind is None:
            raise UnidentifiedImageError
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except UnidentifiedImageError:
        known = "the header is damaged" if kind else "not an accepted format"
        raise PictureError(f"{known} ({kind or 'JPEG, PNG, WebP, BMP, GIF, TIFF'})") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise PictureError(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width}x{height} are more than {MAX_PIXELS // 10**6} million pixels")
    return image


def _orientation(image: Image.Image) -> int:
    if not any(name in image.info for name in _HAVE_EXIF) and image.format != "TIFF":
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged note about the picture is no damage of the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "TIFF":  # turned by Pillow while loading
        return image
    turn = _TURN.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _scale_transparent(image: Image.Image, data: bytes) -> None:
    """The transparent colour of a PNG as Pillow gives its pixels: in 8 bits, where the file's are fewer or more."""
    hidden = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in {"1", "L", "RGB"} or not isinstance(hidden, int | tuple):
        return
    depth = data[_PNG_DEPTH]
    values = [value & ((1 << depth) - 1) for value in (hidden if isinstance(hidden, tuple) else (hidden,))]
    scaled = [value >> 8 if depth == 16 else value * 255 // ((1 << depth) - 1) for value in values]
    image.info["transparency"] = tuple(scaled) if isinstance(hidden, tuple) else scaled[0]


def _over_white(image: Image.Image) -> Image.Image:
    full = image.convert("RGBA")
    white = Image.new("RGB", full.size, (255, 255, 255))
    white.paste(full, mask=full.getchannel("A"))
    return white


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """[H, W] uint8 from a gray picture of more than 8 bits."""
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise PictureError("floats outside 0..1 have no defined brightness")
        return np.round(values * np.float32(255)).astype(np.uint8)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        raise PictureError("integers outside 0..65535 have no defined brightness")
    bits, inverted = _tiff_scale(image)
    hidden = image.info.get("transparency")
    result = (values >> max(bits - 8, 0)).astype(np.uint8)
    if inverted:
        result = 255 - result
    return np.where(values == hidden, np.uint8(255), result) if isinstance(hidden, int) else result


def _tiff_scale(image: Image.Image) -> tuple[int, bool]:
    """Bits per sample, and whether 0 is white."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None:
        return 16, False
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    return min(int(bits[0]), 16), tags.get(_PHOTOMETRIC, 1) == 0


def _is_gray(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [0, 0, 0], dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in {"1", "L", "LA", "La", "F"} or image.mode.startswith("I")


def _reason(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))[:120]
    if "truncated" in text.lower():
        return "truncated"
    return f"cannot be decoded: {text or type(error).__name__}"
