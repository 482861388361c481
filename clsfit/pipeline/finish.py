"""From a canvas to what the model sees: which region, which size, which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch

from clsfit.errors import ConfigError
from clsfit.pipeline.buffers import Buffers

Resize = Literal["short", "stretch", "pad"]

_PART = 1 << 17  # values, half a MiB


@dataclass(frozen=True, slots=True)
class Finish:
    """The deterministic last part of the data path; it travels in the model file.

    Attributes:
        input_size: (height, width) in pixels, what the model sees.
        channels: 1 or 3.
        resize: how a canvas of another shape becomes the input. ``short``: the centred largest box
            of the input's aspect is cut out and resized; ``stretch``: the whole canvas is resized,
            its aspect changes; ``pad``: the whole canvas is resized, its aspect stays, the rest is
            black.
        mean: per channel, of grey levels in 0..1; one value stands for all channels.
        std: per channel, greater than 0; one value stands for all channels.
    """

    input_size: tuple[int, int]
    channels: int
    resize: Resize
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        height, width = self.input_size
        if height < 1 or width < 1:
            raise ConfigError(f"the input size is {height}x{width}", "--input-size", "give at least 1 pixel a side")
        if self.resize not in get_args(Resize):
            raise ConfigError(f"no way to resize is named {self.resize!r}", "--resize", "one of short, stretch, pad")
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) == 1:
                values *= self.channels
            if len(values) != self.channels:
                given = f"{name} has {len(values)} values"
                raise ConfigError(given, f"--{name}", f"give 1 or {self.channels}, as the pictures have channels")
            object.__setattr__(self, name, values)
        if not all(value > 0 for value in self.std):
            raise ConfigError("a standard deviation is not above 0", "--std", "give positive numbers")

    def to_json(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_json` makes an equal object."""
        return {
            "input_size": list(self.input_size),
            "channels": self.channels,
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finish:
        """The inverse of :meth:`to_json`."""
        height, width = values["input_size"]
        resize = cast("Resize", values["resize"])
        mean, std = tuple(values["mean"]), tuple(values["std"])
        return cls((int(height), int(width)), int(values["channels"]), resize, mean, std)

    def windows(self, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Which region of each canvas becomes the picture.

        Args:
            sizes: [N, 2] int64, height and width of the canvases, at least 1.

        Returns:
            [N, 4] float64: top, left, height, width in canvas pixels. The region is centred, may lie
            between pixels, and exceeds the canvas where ``resize`` is ``pad``.
        """
        high, wide = self.input_size
        full = sizes.astype(np.float64)
        if self.resize == "stretch":
            region = full
        else:
            # One side of the region is the canvas's, exactly; the other follows from the input's aspect.
            by_height = np.stack([full[:, 0], full[:, 0] * wide / high], axis=1)
            by_width = np.stack([full[:, 1] * high / wide, full[:, 1]], axis=1)
            flat = full[:, 0] * wide <= full[:, 1] * high
            region = np.where((flat if self.resize == "short" else ~flat)[:, None], by_height, by_width)
        return np.concatenate([(full - region) / 2, region], axis=1)

    def extents(self, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Size of each whole canvas once its window has the input size.

        Args:
            sizes: [N, 2] int64, height and width of the canvases, at least 1.

        Returns:
            [N, 2] int64, height and width in whole output pixels that the canvas covers, at least 1.
        """
        scale = self.windows(sizes)[:, 2:] / np.array(self.input_size, dtype=np.float64)
        return np.maximum(1, np.floor(sizes / scale + 1e-6)).astype(np.int64)

    def values(self, batch_size: int) -> int:
        """How many numbers a batch of ``batch_size`` pictures has."""
        return batch_size * self.channels * self.input_size[0] * self.input_size[1]

    def normalise(
        self,
        images: torch.Tensor,
        memory_format: torch.memory_format = torch.contiguous_format,
        buffers: Buffers | None = None,
    ) -> torch.Tensor:
        """(images / 255 - mean) / std, as one multiplication and one addition per value.

        The two are rounded one after the other, never fused, so that a value's bits on a device
        depend on nothing but the value: not on the batch's size or memory format.

        Args:
            images: uint8 [B, C, H, W] on any device, in any memory format.
            memory_format: of the result.
            buffers: where the result's memory is from, on the host; None: newly made.

        Returns:
            float32 [B, C, H, W] on the same device.
        """
        scale, shift = _constants(self.mean, self.std, images.device)
        if images.device.type != "cpu":
            out = torch.empty(images.shape, dtype=torch.float32, device=images.device, memory_format=memory_format)
            return out.copy_(images).mul_(scale.view(1, -1, 1, 1)).add_(shift.view(1, -1, 1, 1))
        batch, channels, high, wide = images.shape
        empty = torch.empty if buffers is None else buffers.empty
        pixels = images.permute(0, 2, 3, 1)
        if memory_format == torch.channels_last and pixels.is_contiguous():
            # Broadcasting over the innermost three values is twice as slow as over a whole row of them.
            rows = empty((batch, high, wide * channels), dtype=torch.float32)
            _in_parts(rows, pixels.view(rows.shape), scale.repeat(wide), shift.repeat(wide))
            return rows.view(pixels.shape).permute(0, 3, 1, 2)
        if memory_format == torch.channels_last:
            out = empty(pixels.shape, dtype=torch.float32).permute(0, 3, 1, 2)
        else:
            out = empty(images.shape, dtype=torch.float32)
        _in_parts(out, images, scale.view(-1, 1, 1), shift.view(-1, 1, 1))
        return out


def _in_parts(out: torch.Tensor, values: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """``out`` = ``values`` * ``scale`` + ``shift``, as many samples at a time as stay in a core's cache."""
    samples = max(1, _PART * len(values) // max(1, values.numel()))
    for first in range(0, len(values), samples):
        out[first : first + samples].copy_(values[first : first + samples]).mul_(scale).add_(shift)


@lru_cache(maxsize=32)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """[C] float32 factor and [C] float32 summand of grey levels 0..255, made in double precision on the host."""
    scale = torch.tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    return scale.to(device), shift.to(device)
