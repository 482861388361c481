"""Cutting pictures out of canvases: indexing where that is exact, else one antialiased resize, else a warp.

A sample's region is its window (see :meth:`clsfit.pipeline.finish.Finish.windows`) moved by the
composed matrix of the augmentations. :func:`plan` sorts a batch's samples into three cases:

- *unit*: one output pixel is one canvas pixel. The offset is rounded to whole pixels and the picture
  is copied, so integer translations and mirrorings change no grey level.
- a *box* of another scale with sides parallel to the canvas: its edges are rounded to whole canvas
  pixels and the part inside the canvas is resized, bilinear and antialiased.
- *general*: rotations, shears, perspective. The canvas is made smaller (antialiased) where the map
  minifies, then sampled bilinearly.

Whatever lies outside the canvas is black. Coordinates are continuous: pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SLACK = 1e-6  # pixels; keeps rounding at .5 independent of the last bits of a product
_EDGE = 1.0 + 1e-6  # the picture's edge in a grid's coordinates, with some bits of float32 to spare


@dataclass(frozen=True, slots=True)
class Plan:
    """How each of N samples is cut.

    Attributes:
        general: [N], needs a warp by ``maps``.
        unit: [N], is a copy: the picture's corner lies at ``offsets`` in the canvas.
        offsets: [N, 2] int64, top and left, may be negative.
        spans: [N, 8] int64: rows [c0, c1) of the canvas become rows [o0, o1) of the picture, then
            the same for columns; [o0, o1) is empty where nothing is visible. Unused if general.
        flips: [N, 2]: mirror the cut picture's rows (upside down), its columns. False if general.
        maps: [N, 3, 3] float64: a point of the output in pixels from its centre -> canvas pixels.
    """

    general: Bools
    unit: Bools
    offsets: Ints
    spans: Ints
    flips: Bools
    maps: Floats


def plan(input_size: tuple[int, int], sizes: Ints, windows: Floats, matrices: Floats | None) -> Plan:
    """Sorts samples into the three cases.

    Args:
        input_size: (height, width) of the output.
        sizes: [N, 2] int64, the canvases' heights and widths.
        windows: [N, 4] float64: top, left, height, width.
        matrices: [N, 3, 3] float64, composed, as :class:`clsfit.contracts.Augment` says; None: identity.
    """
    lengths = np.array(input_size, dtype=np.int64)
    scale = windows[:, 2:] / lengths
    centre = windows[:, :2] + windows[:, 2:] / 2
    maps = np.zeros((len(sizes), 3, 3)) if matrices is None else matrices.copy()
    if matrices is None:
        maps[:, (0, 1, 2), (0, 1, 2)] = 1.0
    last = maps[:, 2, 2, None, None]
    maps = maps / np.where(last == 0, 1.0, last)  # equal matrices in homogeneous coordinates, one form
    # Output pixels -> canvas pixels; matrices have x first, sizes have the height first.
    maps[:, 0] = maps[:, 0] * scale[:, 1, None] + maps[:, 2] * centre[:, 1, None]
    maps[:, 1] = maps[:, 1] * scale[:, 0, None] + maps[:, 2] * centre[:, 0, None]
    stretch = np.stack([maps[:, 1, 1], maps[:, 0, 0]], axis=1)
    skew = np.abs(np.stack([maps[:, 1, 0], maps[:, 0, 1]], axis=1)) * lengths[::-1]
    straight = (maps[:, 2] == (0.0, 0.0, 1.0)).all(1)
    # A skew or a collapse that cannot be seen at the picture's far side would only cost exactness.
    general = ~(straight & (skew < _SLACK).all(1) & (np.abs(stretch) > _SLACK).all(1))
    extent: Floats = np.abs(stretch) * lengths
    corner: Floats = np.stack([maps[:, 1, 2], maps[:, 0, 2]], axis=1) - extent / 2
    unit = (np.abs(extent - lengths) < _SLACK).all(1) & ~general
    offsets, spans = _spans(corner, extent, sizes, lengths, general)
    return Plan(general, unit, offsets, spans, (stretch < 0) & ~general[:, None], maps)


def _nearest(values: Floats) -> Ints:
    return np.floor(values + (0.5 + _SLACK)).astype(np.int64)


def _spans(corner: Floats, extent: Floats, sizes: Ints, lengths: Ints, general: Bools) -> tuple[Ints, Ints]:
    """Offsets [N, 2] and spans [N, 8] of boxes, each of the arguments [N, 2]: rows, columns."""
    if general.any():  # their numbers mean nothing here, and may be no numbers
        corner, extent = np.where(general[:, None], 0.0, corner), np.where(general[:, None], 1.0, extent)
    limit = 4.0 * (sizes.max(initial=1) + lengths.max())  # beyond it all is black; keeps the integers small
    corner, extent = np.clip(corner, -limit, limit), np.clip(extent, 0.0, limit)
    scale = np.maximum(extent, _SLACK) / lengths
    same = np.abs(extent - lengths) < _SLACK
    first = _nearest(corner)
    last = np.where(same, first + lengths, _nearest(corner + extent))
    into = np.clip(np.where(same, -first, _nearest(-corner / scale)), 0, lengths)
    until = np.clip(np.where(same, sizes - first, _nearest((sizes - corner) / scale)), 0, lengths)
    offsets = first.copy()
    first = np.clip(first, 0, sizes - 1)
    last = np.maximum(np.clip(last, 0, sizes), first + 1)  # a box within one pixel still shows that pixel
    spans = np.stack([first, last, into, until], axis=2).reshape(len(sizes), 8)
    return offsets, spans


def tensor_of(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """The array's memory as a tensor, which must not be written to where the array is read-only."""
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    return torch.from_numpy(array)


class _Writable:
    """Lends a read-only array's memory, such as a mapped cache's; torch has no read-only tensors and warns."""

    def __init__(self, array: npt.NDArray[np.generic]) -> None:
        self.array = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def resize(canvas: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [h, w, C] from ``canvas`` uint8 [H, W, C]: bilinear, antialiased, rounded to grey levels."""
    # As [1, C, H, W] with these strides it is taken for channels_last; an expanded [C, H, W] would not be.
    image = canvas[None].permute(0, 3, 1, 2)
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)


def cut(canvas: Bytes, samples: Plan, k: int, out: torch.Tensor) -> None:
    """Writes sample ``k`` of a plan into ``out``.

    Args:
        canvas: uint8 [H, W, C].
        samples: the plan.
        k: which of its samples.
        out: uint8 [h, w, C] on the host; every byte is written.
    """
    if canvas.shape[2] != out.shape[2]:
        raise ValueError(f"a canvas has {canvas.shape[2]} channels, the input {out.shape[2]}")
    if samples.general[k]:
        out.copy_(_cut_general(canvas, samples.maps[k], (out.shape[0], out.shape[1])))
        return
    top, bottom, row, row_end, left, right, column, column_end = samples.spans[k].tolist()
    down, across = samples.flips[k].tolist()
    high, wide = out.shape[:2]
    if (row, column, row_end, column_end) != (0, 0, high, wide):
        out.zero_()
        if row_end <= row or column_end <= column:
            return
    inner = tensor_of(canvas[top:bottom, left:right])
    size = (row_end - row, column_end - column)
    piece = inner if inner.shape[:2] == size else resize(inner, size)
    if down:
        row = high - row_end
    if across:
        column = wide - column_end
    out[row : row + size[0], column : column + size[1]] = _mirrored(piece, down, across)


def _mirrored(picture: torch.Tensor, down: bool, across: bool) -> torch.Tensor:
    """uint8 [h, w, C]: ``picture`` with its rows in reverse order if ``down``, its columns if ``across``."""
    if not (down or across):
        return picture
    axes = [axis for axis, wanted in ((2, down), (3, across)) if wanted]
    # As [1, C, h, w] torch mirrors it with vector instructions.
    return picture[None].permute(0, 3, 1, 2).flip(axes)[0].permute(1, 2, 0)


def _cut_general(canvas: Bytes, matrix: Floats, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [h, w, C]: the canvas sampled through ``matrix`` [3, 3]."""
    high, wide = canvas.shape[:2]
    small = reduced(np.array([[high, wide]], dtype=np.int64), matrix[None])[0].tolist()
    image = tensor_of(canvas)
    if small != [high, wide]:
        image = resize(image, (small[0], small[1]))
    theta = torch.from_numpy(grid_matrices(np.array([[high, wide]], dtype=np.int64), matrix[None]))
    return sample(image.permute(2, 0, 1)[None], theta, size)[0].permute(1, 2, 0)


def reduced(sizes: Ints, maps: Floats) -> Ints:
    """[N, 2] int64: the sizes to which canvases [N, 2] are reduced so that ``maps`` [N, 3, 3] do not minify."""
    # Derivatives at the picture's centre, where a perspective is about as fine as it is on average.
    slope = maps[:, :2, :2] - maps[:, :2, 2:] * maps[:, 2:, :2]
    steps = np.hypot(slope[:, ::-1, 0], slope[:, ::-1, 1])  # canvas pixels per output pixel: y, x
    return np.maximum(1, _nearest(sizes / np.maximum(1.0, steps)))


def grid_matrices(sizes: Ints, maps: Floats) -> npt.NDArray[np.float32]:
    """[N, 3, 3] float32: ``maps`` with canvas coordinates scaled to -1..1, as ``grid_sample`` takes them."""
    theta = maps.copy()
    theta[:, 0] = maps[:, 0] * (2.0 / sizes[:, 1, None]) - maps[:, 2]
    theta[:, 1] = maps[:, 1] * (2.0 / sizes[:, 0, None]) - maps[:, 2]
    return theta.astype(np.float32)


def sample(images: torch.Tensor, theta: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear samples through one matrix per picture, black outside; on any device.

    The grid is made value by value, without a matrix product, so that a picture's bits do not depend
    on how many are sampled at once.

    Args:
        images: uint8 [N, C, H, W].
        theta: [N, 3, 3] float32 on the same device, from :func:`grid_matrices`.
        size: (h, w) of the output.

    Returns:
        uint8 [N, C, h, w].
    """
    high, wide = size
    x = torch.arange(wide, dtype=torch.float32, device=images.device) + (0.5 - wide / 2)
    y = (torch.arange(high, dtype=torch.float32, device=images.device) + (0.5 - high / 2))[:, None]
    parts = theta[:, :, :, None, None]
    u, v, z = (parts[:, i, 0] * x + parts[:, i, 1] * y + parts[:, i, 2] for i in range(3))
    u, v = u / z, v / z
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    # Black begins at the picture's edge, as it does for a box; "zeros" would fade half a canvas pixel inside it.
    sampled = F.grid_sample(
        pixels, torch.stack([u, v], dim=3), mode="bilinear", padding_mode="border", align_corners=False
    )
    inside = (u.abs() <= _EDGE) & (v.abs() <= _EDGE)
    return sampled.round_().to(torch.uint8).mul_(inside[:, None])


def flip_(images: torch.Tensor, flips: Bools) -> torch.Tensor:
    """Mirrors pictures in place.

    Args:
        images: uint8 [B, h, w, C] on the host, contiguous.
        flips: [B, 2]: rows, columns.

    Returns:
        ``images``.
    """
    pixels = images.numpy()
    down, across = (np.flatnonzero(flips[:, axis]) for axis in (0, 1))
    if len(down):
        pixels[down] = pixels[down][:, ::-1]
    if len(across):
        # torch mirrors channels_last columns with vector instructions, numpy pixel by pixel.
        mirrored = torch.from_numpy(pixels[across]).permute(0, 3, 1, 2).flip(-1)
        pixels[across] = mirrored.permute(0, 2, 3, 1).numpy()
    return images


def gather_host(store: Bytes, rows: Ints, offsets: Ints, flips: Bools) -> torch.Tensor:
    """Shifted and mirrored pictures by indexing alone, black outside.

    Args:
        store: uint8 [N, H, W, C], contiguous.
        rows: [B] int64, which pictures.
        offsets: [B, 2] int64: top and left of the output within the picture.
        flips: [B, 2].

    Returns:
        uint8 [B, H, W, C], contiguous, newly made.
    """
    _, high, wide, channels = store.shape
    size = np.array([high, wide])
    shift = np.clip(offsets, -size, size)
    pad = int(np.abs(shift).max(initial=0))
    chosen = np.take(store.reshape(len(store), high, wide * channels), rows, axis=0)
    if pad:
        # A view [B, top, left, H, W * C] of the padded pictures: numpy copies it row by row, as bytes.
        padded = np.zeros((len(rows), high + 2 * pad, (wide + 2 * pad) * channels), dtype=np.uint8)
        padded[:, pad : pad + high, pad * channels : (pad + wide) * channels] = chosen
        step, line, byte = padded.strides
        shape = (len(rows), 2 * pad + 1, 2 * pad + 1, high, wide * channels)
        strides = (step, line, channels * byte, line, byte)
        view = np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
        chosen = view[np.arange(len(rows)), shift[:, 0] + pad, shift[:, 1] + pad]
    return flip_(torch.from_numpy(chosen).view(len(rows), high, wide, channels), flips)


def gather_device(store: torch.Tensor, rows: torch.Tensor, moves: torch.Tensor, pad: int) -> torch.Tensor:
    """:func:`gather_host` as tensor operations that do not wait for the device.

    Args:
        store: uint8 [N, C, H, W] on any device.
        rows: [B] int64 on that device.
        moves: [B, 4] int64 on that device: top, left in -pad..pad, then 1 to mirror rows, columns.
        pad: the largest offset.

    Returns:
        uint8 [B, C, H, W].
    """
    chosen = store.index_select(0, rows)
    high, wide = chosen.shape[2:]
    if pad:
        view = F.pad(chosen, (pad, pad, pad, pad)).unfold(2, high, 1).unfold(3, wide, 1).permute(0, 2, 3, 1, 4, 5)
        chosen = view[torch.arange(len(chosen), device=store.device), moves[:, 0] + pad, moves[:, 1] + pad]
    chosen = torch.where(moves[:, 2].bool().view(-1, 1, 1, 1), chosen.flip(-2), chosen)
    return torch.where(moves[:, 3].bool().view(-1, 1, 1, 1), chosen.flip(-1), chosen)
