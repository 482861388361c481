"""Pictures cut out of many canvases at once, as two matrix products each: the same bits on every device.

Along each side, a pixel of the picture is a weighted sum of the canvas pixels near it. The weights are those of
an antialiased bilinear resize: a triangle that reaches one pixel of the coarser of the two grids to either side.
A mirrored picture has its matrix's rows in reverse, and what shows nothing of the canvas has weights of zero.

Nothing is rounded but where it is meant to be, so that the bits depend on no order of additions, no kernel, no
size of the batch and no padding:

- Weights are whole numbers up to 2^11 times a power of two down to 2^-13, and add up to exactly 1. They are found
  in whole numbers.
- A canvas has 8 bits a pixel. Between the products levels are rounded to eighths of a grey level: 11 bits. So all
  factors have at most 11 bits, which even TF32 keeps.
- So a sum of products has at most 24 bits, which float32 keeps.

Levels are rounded to eighths between the products, and not to whole levels as the resize of uint8 pictures on the
host does. Two results that are rounded to whole levels twice can be two levels apart. These are one apart at most
where a picture is made up to about 8 times smaller: before the last rounding the host's is off by its first one, half
a level, this by a sixteenth and by what its weights are rounded by. Beyond that a search has found no more than one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]

_COARSE, _FINE = 11, 13  # bits behind the binary point of weights; the finer, the smaller a pixel's largest weight
_LARGEST = 2**_COARSE - 1  # of the whole numbers before they are rounded
_EIGHTHS = 8.0
_BYTES = 256 << 20  # of float32 in the largest of canvases, what is between, and pictures that are made at once


def boxes(spans: Ints, flips: npt.NDArray[np.bool_]) -> Ints:
    """What :func:`cut` takes of a plan: int64 [N, 10], ``spans`` [N, 8] beside ``flips`` [N, 2]."""
    return np.concatenate([spans, flips], axis=1, dtype=np.int64)


def taps(spans: Ints) -> int:
    """How many pixels of a canvas, along one side, a pixel of any picture is made of, at most.

    Args:
        spans: [N, 8] int64, as :class:`clsfit.pipeline.warp.Plan` has them.
    """
    taken, given = (spans[:, 1::2] - spans[:, ::2]).reshape(-1, 2, 2).transpose(2, 0, 1)
    return int(np.where(given > 0, -(-2 * taken // np.maximum(given, 1)), 0).max(initial=2))


def cut(
    canvases: torch.Tensor,
    table: torch.Tensor,
    most: int,
    size: tuple[int, int],
    which: torch.Tensor | None = None,
) -> torch.Tensor:
    """Resizes boxes of canvases and mirrors them.

    Args:
        canvases: uint8 [N, C, H, W] on any device, in any memory format; each picture in the top left corner of its
            place, the rest may be anything.
        table: [B, 10] int64 on that device, from :func:`boxes`: rows [c0, c1) of the canvas become rows [o0, o1) of
            the picture, which is empty where nothing is visible; the same for columns; then 1 to mirror rows, columns.
        most: :func:`taps` of the boxes.
        size: (h, w) of the pictures.
        which: [B] int64 on that device, whose box each one is; None: one of each canvas, in order.

    Returns:
        uint8 [B, C, h, w], contiguous; black outside of [o0, o1). A box of the picture's own size is copied as it is.
    """
    count, (channels, high, wide) = len(table), canvases.shape[1:]
    out = torch.empty((count, channels, *size), dtype=torch.uint8, device=canvases.device)
    step = max(1, _BYTES // (4 * channels * max(high, size[0]) * max(wide, size[1])))
    for first in range(0, count, step):
        some = slice(first, first + step)
        rows = weights(table[some, :4], table[some, 8], size[0], high, most, 1 / _EIGHTHS)
        columns = weights(table[some, 4:8], table[some, 9], size[1], wide, most, _EIGHTHS)
        taken = canvases[some] if which is None else canvases.index_select(0, which[some])
        out[some] = levels(taken, rows, columns)
    return out


def levels(canvases: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The two products.

    Args:
        canvases: uint8 [B, C, H, W].
        rows: float [B, h, H], which add up to an eighth.
        columns: float [B, w, W] of the same type, which add up to eight.

    Returns:
        [B, C, h, w] of that type: the grey levels plus a half, of which the whole part is the level.
    """
    count, channels, high, wide = canvases.shape
    # Each product's result lies in memory as the next one takes it; only the small last one is turned.
    pixels = canvases.to(rows.dtype, memory_format=torch.contiguous_format).view(count, channels * high, wide)
    with torch.autocast(canvases.device.type, enabled=False):  # fewer bits than TF32 has would be too few
        between = torch.bmm(columns, pixels.transpose(1, 2)).round_()
        made = torch.bmm(between.view(count, -1, high), rows.transpose(1, 2)).add_(0.5)
    return made.view(count, columns.shape[1], channels, rows.shape[1]).permute(0, 2, 3, 1)


def weights(
    spans: torch.Tensor, flips: torch.Tensor, length: int, extent: int, most: int, whole: float = 1.0
) -> torch.Tensor:
    """What of each canvas pixel is in each pixel of the pictures, along one side.

    Args:
        spans: [B, 4] int64: pixels [c0, c1) of the canvas become pixels [o0, o1) of the picture.
        flips: [B] int64, 1 to mirror the picture.
        length: pixels of the picture.
        extent: pixels of the canvas.
        most: at least as many as a pixel of the picture is made of.
        whole: a power of two, what the weights of one pixel of the picture add up to.

    Returns:
        float32 [B, length, extent], on the device of ``spans``.
    """
    device, most = spans.device, min(most, extent)
    first, last, into, until = spans[:, :, None, None].unbind(1)
    taken, given = last - first, (until - into).clamp_min(1)
    reach = 2 * torch.maximum(taken, given)
    place = torch.arange(length, device=device)[:, None]
    place = torch.where(flips[:, None, None] > 0, length - 1 - place, place) - into  # [B, length, 1]
    # Positions within the box, in parts of a canvas pixel of which 2 * given are one: all are whole numbers.
    centre = (2 * place + 1) * taken
    nearest = torch.div(centre - reach - given, 2 * given, rounding_mode="floor") + 1
    start = (first + nearest.clamp_min(0)).clamp_max(extent - most)
    pixel = start + torch.arange(most, device=device)  # [B, length, most], each of a row another one
    inside = (pixel >= first) & (pixel < last) & (place >= 0) & (place < until - into)
    height = (reach - ((2 * (pixel - first) + 1) * given - centre).abs()).clamp_min(0) * inside
    found = torch.zeros((len(spans), length, extent), dtype=torch.float32, device=device)
    return found.scatter_(2, pixel, _rounded(height) * whole)


def _rounded(heights: torch.Tensor) -> torch.Tensor:
    """float32 [..., n] of which each n add up to exactly 1, nearly as ``heights`` int64 [..., n], or are all 0."""
    total = heights.sum(-1, keepdim=True).clamp_min(1)
    largest = heights.amax(-1, keepdim=True)
    one = torch.full_like(total, 2**_COARSE)
    for bits in range(_COARSE + 1, _FINE + 1):
        one = torch.where(largest * 2**bits <= _LARGEST * total, 2**bits, one)
    # What is rounded is where one pixel's share ends and the next one's begins: the shares fill the whole.
    ends = torch.div(2 * one * heights.cumsum(-1) + total, 2 * total, rounding_mode="floor")
    shares = ends.diff(dim=-1, prepend=torch.zeros_like(total))
    return shares.to(torch.float32) / one.to(torch.float32)
