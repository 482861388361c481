"""Whether two canvases show the same picture, encoded again, resized or mirrored; and what tells it sooner.

A canvas has a signature: its 16 lowest cosine coefficients, from a coarse grid of one channel. Encoding
a picture again, or making it smaller, moves each by a grey level or two, whereas different pictures differ
by tens in most of them.

Two canvases show the same picture if their aspects are the same, to a pixel,
and none of these is above its limit, the second where the short side has 128 pixels or more:

============================================================================  ==========
mean absolute difference in grey, relative to the contrast, on the thumbnail  0.2, 0.12
largest difference in grey of 16x16 cells                                     16, 8
their mean absolute difference in grey                                        3.5
their mean absolute difference in colour                                      7.5
============================================================================  ==========

The thumbnail has 64x64 pixels, or 32x32 or 16x16 for short sides below 256 and 128; the contrast is the mean
absolute deviation from the mean. A canvas is flat where the contrast of its signature's pixels is below 4
levels of 255: it is like every other one, so it is not compared.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsfit.data.child import Canvas

_SAMPLES = 128  # at least so many pixels of each side make a signature, where there are so many
WAVES = 4
"""Cosines along each side."""
FLAT = 4.0
"""A contrast below it is none."""
_COARSE = 16
_LIMITS = ((256, 64, 0.12, 8.0), (128, 32, 0.12, 8.0), (0, 16, 0.2, 16.0))
"""From this short side on: the thumbnail's side, the limit relative to the contrast, the limit for a cell."""
_GREY, _COLOUR = 3.5, 7.5
_GREY_SLACK = 3.0  # the mean over fewer cells is no larger, but for rounding, and another thumbnail's side
MIRROR = np.tile(np.array([1, -1, 1, -1], dtype=np.float32), WAVES)
"""What a signature is multiplied by where its picture is mirrored left to right: every other cosine is odd."""

Floats = npt.NDArray[np.float32]


def same_or_mirrored(one: Canvas, other: Canvas) -> bool:
    """Whether two canvases, uint8 [H, W, C] of the same C, show one picture, mirrored left to right or not."""
    return unlikeness(one, other) <= 1 or unlikeness(one, np.ascontiguousarray(other[:, ::-1])) <= 1


def unlikeness(one: Canvas, other: Canvas) -> float:
    """How far two canvases, uint8 [H, W, C] of the same C, are from showing one picture.

    Returns:
        The largest share of a limit of the module's table that is used up: above 1 they are two pictures;
        infinite where the aspects differ or ``one`` has no contrast.
    """
    (height, width), (down, across) = one.shape[:2], other.shape[:2]
    if abs(height * across - width * down) > max(height + width, down + across):  # sides are rounded
        return float("inf")
    short = min(height, width, down, across)
    _, side, relative, cell = next(limits for limits in _LIMITS if short >= limits[0])
    first, second = _thumbnail(one, side), _thumbnail(other, side)
    grey = first.mean(axis=2)
    contrast = np.abs(grey - grey.mean()).mean()
    if not contrast:
        return float("inf")
    difference = _cell_means(first) - _cell_means(second)
    in_grey = np.abs(difference.mean(axis=2))
    return float(
        max(
            np.abs(grey - second.mean(axis=2)).mean() / contrast / relative,
            in_grey.max() / cell,
            in_grey.mean() / _GREY,
            np.abs(difference).mean() / _COLOUR,
        )
    )


def grey(canvas: Canvas) -> npt.NDArray[np.uint8]:
    """[64] grey levels of the cells of 8x8 of a canvas, uint8 [H, W, C]: what :func:`may_be_same` compares."""
    cells = _cell_means(_thumbnail(canvas, _COARSE)).mean(axis=2).reshape(8, 2, 8, 2).mean(axis=(1, 3))
    levels: npt.NDArray[np.uint8] = np.rint(cells).astype(np.uint8).reshape(-1)
    return levels


def may_be_same(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    """Whether :func:`same_or_mirrored` can be true of two canvases, by their :func:`grey`; seldom where it is not."""
    first, second = one.astype(np.int16).reshape(8, 8), other.astype(np.int16).reshape(8, 8)
    plain, mirrored = (float(np.abs(first - cells).mean()) for cells in (second, second[:, ::-1]))
    return min(plain, mirrored) <= _GREY + _GREY_SLACK


def signature(canvas: Canvas) -> tuple[Floats, bool]:
    """[16] coefficients of a canvas, uint8 [H, W, C], in grey levels, and whether it is flat."""
    coefficients, contrasts = signatures_of(canvas[np.newaxis])
    return coefficients[0], bool(contrasts[0] < FLAT)


def signatures_of(block: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """[n, 16] coefficients and [n] contrasts of canvases [n, H, W, C]."""
    (down, down_waves), (across, across_waves) = _side(block.shape[1]), _side(block.shape[2])
    pixels = block[:, down, across, block.shape[3] // 2].astype(np.float32)
    coefficients = np.asarray(down_waves @ pixels @ across_waves.T, dtype=np.float32).reshape(len(block), -1)
    pixels -= coefficients[:, :1, np.newaxis]
    contrasts: Floats = np.mean(np.abs(pixels, out=pixels), axis=(1, 2))
    return coefficients, contrasts


@functools.lru_cache(maxsize=4096)
def _side(length: int) -> tuple[slice, Floats]:
    """Which of a side's pixels are taken, and the cosines [4, taken] there, each divided by their number.

    They lie as far from the one end as from the other, so that a mirrored picture's are the same ones: fine grain
    would make others of them.
    """
    step = max(1, length // _SAMPLES)
    if step % 2 == 0 and length % 2 == 0:  # no such places
        step -= 1
    number = (length - 1) // step + 1
    if (length - 1 - (number - 1) * step) % 2:
        number -= 1
    start = (length - 1 - (number - 1) * step) // 2
    taken = slice(start, start + (number - 1) * step + 1, step)
    places = (np.arange(length)[taken] + 0.5) / length
    waves = np.cos(np.pi * np.outer(np.arange(WAVES), places)) / len(places)
    return taken, waves.astype(np.float32)


def _thumbnail(canvas: Canvas, side: int) -> Floats:
    """[side, side, C]. The triangle filter is the least troubled by where a smaller picture's pixels lie."""
    image = Image.fromarray(canvas[:, :, 0] if canvas.shape[2] == 1 else canvas)
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).reshape(side, side, -1)


def _cell_means(thumbnail: Floats) -> Floats:
    """[16, 16, C] from [side, side, C]."""
    size = len(thumbnail) // _COARSE
    means: Floats = thumbnail.reshape(_COARSE, size, _COARSE, size, -1).mean(axis=(1, 3))
    return means
