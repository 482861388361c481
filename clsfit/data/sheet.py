"""Pictures in rows under their names, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from clsfit.errors import printable

_LEAST = 96  # pixels of a cell's longer side; smaller pictures are enlarged by a whole number
_GAP = 4
_LINE = 20  # pixels of a row's name
_LONGEST = 80  # characters of a name


def sheet(rows: Mapping[str, Sequence[npt.NDArray[np.uint8]]]) -> bytes:
    """A row of pictures below each name: PNG data.

    Args:
        rows: name -> pictures, uint8 [H, W, C] of 1 or 3 channels, all of one shape; at least one in all.
    """
    height, width = next(picture.shape[:2] for pictures in rows.values() for picture in pictures)
    scale = max(1, -(-_LEAST // max(height, width)))
    high, wide = height * scale, width * scale
    most = max(len(pictures) for pictures in rows.values())
    canvas = Image.new("RGB", (_GAP + most * (wide + _GAP), len(rows) * (_LINE + high + _GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_LINE - 7)
    for row, (name, pictures) in enumerate(rows.items()):
        top = row * (_LINE + high + _GAP)
        draw.text((_GAP, top + 2), _drawable(name, font), fill="black", font=font)
        for place, picture in enumerate(pictures):
            image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
            canvas.paste(
                image.resize((wide, high), Image.Resampling.NEAREST), (_GAP + place * (wide + _GAP), top + _LINE)
            )
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _drawable(name: str, font: object) -> str:
    """What a font can draw: Pillow's own, where it is built without FreeType, knows Latin-1 only."""
    text = printable(name)[:_LONGEST]
    return text if isinstance(font, ImageFont.FreeTypeFont) else text.encode("latin-1", "replace").decode("latin-1")
