"""Pictures that lie on the device as a whole, and batches of them by one indexing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.pipeline import warp
from clsfit.pipeline.augment import Drawn, look_up
from clsfit.pipeline.finish import Finish

if TYPE_CHECKING:
    from clsfit.data.canvases import Canvases

Ints = npt.NDArray[np.int64]

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


def why_not(canvases: Canvases, finish: Finish, device: torch.device) -> str:
    """Why pictures cannot be resident; empty if they can.

    Depends on configuration, data and hardware alone, never on what happens to be free.
    """
    uniform = canvases.uniform
    if uniform is None:
        return "they are not in memory, or not of one size"
    high, wide = finish.input_size
    if uniform.shape[1:3] != (high, wide):
        return f"the pictures are {uniform.shape[1]}x{uniform.shape[2]}, the input {high}x{wide}"
    if device.type == "cuda" and uniform.nbytes > _DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return "the pictures would take too much of the device's memory"
    return ""


class Resident:
    """All canvases as one uint8 tensor.

    Args:
        canvases: with ``uniform`` of the input size.
        finish: how a canvas becomes the model's input.
        device: where the pictures lie.

    Attributes:
        store: uint8, on the host the canvases' own memory [N, H, W, C], elsewhere [N, C, H, W].
    """

    def __init__(self, canvases: Canvases, finish: Finish, device: torch.device) -> None:
        self._pixels = np.ascontiguousarray(canvases.uniform, dtype=np.uint8)
        self._finish, self._device = finish, device
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
        direct = plan.general & (warp.reduced(sizes, plan.maps) == sizes).all(1)
        warped = np.flatnonzero(direct)
        if len(warped):
            theta = send(warp.grid_matrices(sizes[warped], plan.maps[warped]), self._device)
            source = self.store.index_select(0, send(rows[warped], self._device))
            source = source.permute(0, 3, 1, 2) if self._device.type == "cpu" else source
            images.index_copy_(0, send(warped, self._device), warp.sample(source, theta, self._finish.input_size))
        others = np.flatnonzero(~plan.unit & ~direct)
        if len(others):  # one resize per sample, on the host
            pixels = torch.empty((len(others), *self._finish.input_size, self._finish.channels), dtype=torch.uint8)
            for k, which in enumerate(others.tolist()):
                warp.cut(self._pixels[rows[which]], plan, which, pixels[k])
            resized = move(warp.flip_(pixels, plan.flips[others]), self._device).permute(0, 3, 1, 2)
            images.index_copy_(0, send(others, self._device), resized)
