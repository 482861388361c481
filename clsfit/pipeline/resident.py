"""Pictures that lie on the device as a whole, and batches of them by one indexing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from clsfit.data.threads import over_rows
from clsfit.pipeline import products, warp
from clsfit.pipeline.augment import Drawn, look_up
from clsfit.pipeline.finish import Finish

if TYPE_CHECKING:
    from clsfit.data.canvases import Canvases

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Form = Literal["batch", "sample"]
"""How what is no mere copy is cut: many pictures at once on the device, or one by one on the host."""

_NONE: Ints = np.zeros(0, dtype=np.int64)
_PIECE = 16 << 20  # bytes of canvases that a thread sends at once
_MOST_PADDING = 4  # times the pictures' own bytes, which are as many times more to multiply
_DEVICE_SHARE = 0.4  # of a GPU's memory that resident pictures may take


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on ``device``; from pinned memory where that spares waiting for the device."""
    if device.type == "cuda":
        # torch does not hand pinned memory out again before the copy is done.
        return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)
    return tensor.to(device)


def send(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """:func:`move` of an array, whose memory is shared on the host."""
    return move(warp.tensor_of(array), device)


def form_of(device: torch.device) -> Form:
    """The form that a kind of device has."""
    return "batch" if device.type == "cuda" else "sample"


def most_bytes(device: torch.device) -> float:
    """Bytes of ``device`` that resident pictures may take: of its memory, never of what happens to be free."""
    if device.type != "cuda":
        return math.inf
    return _DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory


def why_not(canvases: Canvases, finish: Finish, device: torch.device, form: Form | None = None) -> str:
    """Why pictures cannot be resident; empty if they can.

    Depends on configuration, data and hardware alone, never on what happens to be free.

    Args:
        canvases: the prepared pictures.
        finish: how a canvas becomes the model's input.
        device: where they would lie.
        form: how they are cut; None: as ``device`` has it. Canvases of any size can be resident where it is "batch".
    """
    uniform, (high, wide) = canvases.uniform, finish.input_size
    if uniform is not None and uniform.shape[1:3] == (high, wide):
        taken = uniform.nbytes
    elif (form or form_of(device)) == "batch":
        if canvases.tier == "stream":
            return "they are decoded when needed"
        sizes = canvases.sizes[rows_of(canvases)]
        taken = len(sizes) * math.prod(_padded(sizes)) * finish.channels
        if taken > _MOST_PADDING * int(sizes.prod(1).sum()) * finish.channels:
            return "a few are so large that the others would be mostly padding"
    elif uniform is None:
        return "they are not in memory, or not of one size"
    else:
        return f"the pictures are {uniform.shape[1]}x{uniform.shape[2]}, the input {high}x{wide}"
    too_much = taken * canvases.times > most_bytes(device)
    return "the pictures would take too much of the device's memory" if too_much else ""


def store_of(canvases: Canvases, finish: Finish, device: torch.device, form: Form, workers: int) -> Resident | Padded:
    """Puts pictures on the device, of which :func:`why_not` says nothing."""
    uniform = canvases.uniform
    if uniform is not None and uniform.shape[1:3] == finish.input_size:
        return Resident(canvases, finish, device, form)
    return Padded(canvases, finish.channels, device, workers)


def rows_of(canvases: Canvases) -> Ints:
    """The rows [M] int64 that have a canvas: part of a data set may have been prepared."""
    found: npt.NDArray[np.bool_] = np.any(canvases.sizes > 1, axis=1)
    for row in np.flatnonzero(~found).tolist():  # a canvas of one pixel, or none
        try:
            canvases.get(row)
        except KeyError:
            continue
        found[row] = True
    return np.flatnonzero(found)


def put(canvas: Bytes, out: Bytes) -> None:
    """Writes ``canvas`` [h, w, C] into the top left corner of ``out`` [H, W, C]."""
    if canvas.shape[2] != out.shape[2]:
        raise ValueError(f"a canvas has {canvas.shape[2]} channels, the input {out.shape[2]}")
    out[: canvas.shape[0], : canvas.shape[1]] = canvas


def even(side: int) -> int:
    """``side`` or a little more: matrix products like rows of float32 that begin at multiples of 16 bytes."""
    return -(-side // 4) * 4


def _padded(sizes: Ints) -> tuple[int, int]:
    """The height and width in which canvases of ``sizes`` [N, 2] all have room."""
    high, wide = sizes.max(0, initial=1).tolist()
    return even(high), even(wide)


class Padded:
    """Canvases of any size as one uint8 tensor on the device, each in the top left corner of its place.

    Args:
        canvases: of tier memory or disk.
        channels: 1 or 3.
        device: where the pictures lie.
        workers: threads that bring them there; 0: the calling thread.

    Attributes:
        store: uint8 [M, C, H, W], the canvases that there are in the order of their rows; black beside them.
    """

    def __init__(self, canvases: Canvases, channels: int, device: torch.device, workers: int) -> None:
        rows = rows_of(canvases)
        self._places = np.full(len(canvases.sizes), -1, dtype=np.int64)
        self._places[rows] = np.arange(len(rows))
        high, wide = _padded(canvases.sizes[rows])
        self.store = torch.empty((len(rows), channels, high, wide), dtype=torch.uint8, device=device)

        def send_some(start: int, stop: int) -> None:
            shape = (stop - start, high, wide, channels)
            piece = torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
            for out, row in zip(piece.numpy(), rows[start:stop].tolist(), strict=True):
                put(canvases.get(row), out)
            self.store[start:stop] = move(piece, device).permute(0, 3, 1, 2)

        over_rows(send_some, len(rows), chunk=max(1, _PIECE // (channels * high * wide)), workers=workers)

    def places(self, rows: Ints) -> Ints:
        """Where in the store ``rows`` [B] are, [B] int64.

        Raises:
            KeyError: one of them has no canvas.
        """
        places = self._places[rows]
        if (places < 0).any():
            raise KeyError(int(rows[places < 0][0]))
        return places


class Resident:
    """All canvases as one uint8 tensor.

    Args:
        canvases: with ``uniform`` of the input size.
        finish: how a canvas becomes the model's input.
        device: where the pictures lie.
        form: how boxes of another scale are cut.

    Attributes:
        store: uint8, on the host the canvases' own memory [N, H, W, C], elsewhere [N, C, H, W].
    """

    def __init__(self, canvases: Canvases, finish: Finish, device: torch.device, form: Form) -> None:
        self._pixels = np.ascontiguousarray(canvases.uniform, dtype=np.uint8)
        self._finish, self._device, self._form = finish, device, form
        self.store = warp.tensor_of(self._pixels)
        if device.type != "cpu":
            self.store = self.store.to(device).permute(0, 3, 1, 2).contiguous()

    def gather(self, rows: Ints, index: torch.Tensor, drawn: Drawn) -> torch.Tensor:
        """Cuts pictures.

        Args:
            rows: [B] int64.
            index: the rows on the device.
            drawn: the samples' matrices and tables.

        Returns:
            uint8 [B, C, H, W] on the device, newly made; channels_last in memory on the host.
        """
        if drawn.matrices is None:
            images = self._as_they_are(rows, index)
            return images if drawn.tables is None else look_up(images, send(drawn.tables, self._device))
        size = self._finish.input_size
        sizes = np.broadcast_to(np.array(size, dtype=np.int64), (len(rows), 2))
        plan = warp.plan(size, sizes, self._finish.windows(sizes), drawn.matrices)
        offsets = np.clip(plan.offsets, -sizes, sizes) * plan.unit[:, None]
        flips = plan.flips & plan.unit[:, None]
        if self._device.type == "cpu":
            images = warp.gather_host(self._pixels, rows, offsets, flips).permute(0, 3, 1, 2)
        else:
            moves = send(np.concatenate([offsets, flips], axis=1), self._device)
            images = warp.gather_device(self.store, index, moves, int(np.abs(offsets).max(initial=0)))
        if not plan.unit.all():
            self._resample(images, rows, plan, sizes)
        return images if drawn.tables is None else look_up(images, send(drawn.tables, self._device))

    def _as_they_are(self, rows: Ints, index: torch.Tensor) -> torch.Tensor:
        """uint8 [B, C, H, W] on the device: the pictures of ``rows``, copied."""
        if self._device.type == "cpu":
            return torch.from_numpy(np.take(self._pixels, rows, axis=0)).permute(0, 3, 1, 2)
        return self.store.index_select(0, index)

    def _resample(self, images: torch.Tensor, rows: Ints, plan: warp.Plan, sizes: Ints) -> None:
        """Overwrites the samples that indexing alone cannot make."""
        size, store = self._finish.input_size, self.store
        store = store.permute(0, 3, 1, 2) if self._device.type == "cpu" else store
        # Elsewhere the host warps, as where pictures are not resident: other kernels round otherwise.
        here = self._device.type == "cpu"
        direct = plan.general & (warp.reduced(sizes, plan.maps) == sizes).all(1) & here
        warped = np.flatnonzero(direct)
        if len(warped):
            theta = send(warp.grid_matrices(sizes[warped], plan.maps[warped]), self._device)
            source = store.index_select(0, send(rows[warped], self._device))
            images.index_copy_(0, send(warped, self._device), warp.sample(source, theta, size))
        rest = ~plan.unit & ~direct
        boxed = np.flatnonzero(rest & ~plan.general) if self._form == "batch" else _NONE
        if len(boxed):
            table = send(products.boxes(plan.spans[boxed], plan.flips[boxed]), self._device)
            most, which = products.taps(plan.spans[boxed]), send(rows[boxed], self._device)
            images.index_copy_(0, send(boxed, self._device), products.cut(store, table, most, size, which))
        rest[boxed] = False
        others = np.flatnonzero(rest)
        if len(others):  # one resize per sample, on the host
            pixels = torch.empty((len(others), *size, self._finish.channels), dtype=torch.uint8)
            for k, chosen in enumerate(others.tolist()):
                warp.cut(self._pixels[rows[chosen]], plan, chosen, pixels[k])
            resized = move(pixels, self._device).permute(0, 3, 1, 2)
            images.index_copy_(0, send(others, self._device), resized)
