"""Damaged pictures: each is refused with a reason, or becomes a canvas."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

import mutate
import numpy as np
from PIL import Image

from clsfit.data.decode import PictureError, decode, peek
from clsfit.data.prepare import Prepare

FORMS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MODES = ("L", "RGB", "P", "RGBA", "CMYK", "I;16", "1")


@cache
def whole(form: str, mode: str) -> bytes:
    """A picture of that format and mode; empty where there is no such file."""
    image = Image.effect_noise((40, 30), 60).convert("I;16" if mode == "I;16" else mode)
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    options = {"compression": "tiff_lzw"} if form == "TIFF" and mode in {"L", "RGB"} else {}
    try:
        image.save(out, form, exif=exif, **options)
    except (OSError, ValueError, KeyError):
        return b""
    return out.getvalue()


def damaged(rng: random.Random) -> tuple[str, bytes]:
    """A format, and what was a picture in it."""
    data = b""
    while not data:
        form = rng.choice(FORMS)
        data = whole(form, rng.choice(MODES))
    data = mutate.data(data, rng)
    if not rng.randrange(4):  # a header of other sizes
        spot = rng.randrange(min(len(data), 200) or 1)
        data = data[:spot] + rng.choice([b"\xff\xff\xff\x7f", b"\0\0\xff\xff", b"\xff\xff"]) + data[spot + 4 :]
    return form, data


def attempt(here: Path, rng: random.Random) -> tuple[str, str]:
    """What became of a damaged picture, and what is wrong with that; empty if nothing is."""
    _, data = damaged(rng)
    (here / "picture").write_bytes(data)
    channels = rng.choice([1, 3])
    try:
        header = peek(data)
        image = decode(data, channels)
        if image.mode != ("L" if channels == 1 else "RGB") or (image.height, image.width) != (
            header.height,
            header.width,
        ):
            return "odd", f"peek said {header}, and decode gave {image.mode} {image.size}"
        canvas = Prepare(channels, 16)(data)
        if canvas.dtype != np.uint8 or canvas.shape[2] != channels or min(canvas.shape[:2]) > 16:
            return "odd", f"a canvas of {canvas.shape}"
    except PictureError as error:
        text = str(error)
        return "refused", "" if 0 < len(text) < 300 and text.isprintable() else f"a reason of {text!a}"
    except BaseException as error:
        return "failed", f"{type(error).__name__}: {error}"
    return "read", ""
