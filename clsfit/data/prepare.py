"""From a picture to its canvas: deterministic, the same in training, validation and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsfit.data.decode import PictureError, convert, decode
from clsfit.errors import CheckpointError


@dataclass(frozen=True)
class Prepare:
    """Makes canvases: decoded, upright, of one colour mode, the short side at most ``canvas_side``.

    A larger picture is reduced, antialiased, with its full aspect; a smaller one stays as it is:
    nothing is enlarged here, since the cut to the input size does that without a second resampling.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        canvas_side: pixels of the short side; None keeps every picture's size.
    """

    channels: int
    canvas_side: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in {1, 3}:
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.canvas_side is not None and self.canvas_side < 1:
            raise ValueError(f"canvas_side must be at least 1, not {self.canvas_side}")

    def __call__(self, picture: bytes | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, C], contiguous; read-only, since it is Pillow's own copy of the pixels.

        Args:
            picture: an encoded file's bytes, or pixels uint8 [H, W], [H, W, 1] or [H, W, 3].

        Raises:
            PictureError: it cannot be decoded, or is no such array.
        """
        image = _from_array(picture, self.channels) if isinstance(picture, np.ndarray) else self._decoded(picture)
        width, height = image.size
        size = self.size(height, width)
        if size != (height, width):
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).reshape(*size, self.channels)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the canvas of a picture of ``height`` x ``width``."""
        side = self.canvas_side
        if side is None or min(height, width) <= side:
            return height, width
        if height <= width:
            return side, max(side, round(width * side / height))
        return max(side, round(height * side / width)), side

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` is the inverse."""
        return {"channels": self.channels, "canvas_side": self.canvas_side}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Prepare:
        """The inverse of :meth:`to_json`.

        Raises:
            CheckpointError: ``values`` is no such object.
        """
        try:
            side = values["canvas_side"]
            return cls(int(values["channels"]), None if side is None else int(side))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError("the description of the preprocessing is damaged", f"prepare: {error}") from error

    def _decoded(self, data: bytes) -> Image.Image:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise PictureError(f"a data set gives bytes or uint8 arrays, not {type(data).__name__}")
        return decode(bytes(data), self.channels)


def _from_array(pixels: npt.NDArray[np.uint8], channels: int) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or (pixels.ndim == 3 and pixels.shape[2] not in {1, 3}):
        raise PictureError(f"pixels must be uint8 [H, W], [H, W, 1] or [H, W, 3], not {pixels.dtype} {pixels.shape}")
    if not pixels.size:
        raise PictureError("a picture without pixels")
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return convert(Image.fromarray(np.ascontiguousarray(flat)), channels)
