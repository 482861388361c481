"""Augmentations of the pictures' colours, once they are cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.errors import ConfigError
from clsfit.keyed import Key
from clsfit_standard.augments.device import sent

_LUMA = (19595, 38470, 7471)  # ITU-R 601: 0.299, 0.587, 0.114 of red, green, blue, times 2**16


class Grayscale:
    """Takes the colour away; three equal channels remain, so that the model need not change.

    Grey is the luma of ITU-R BT.601, rounded: the bytes of Pillow's mode L, and so of ``--channels 1``.
    Not with classes that differ by colour alone.

    Args:
        in_channels: of the pictures.
        p: probability that a picture loses its colour, in [0, 1].

    Raises:
        ConfigError: the pictures have one channel.
    """

    def __init__(self, in_channels: int, p: float = 0.1) -> None:
        if in_channels != 3:
            raise ConfigError(
                "augment 'grayscale' would do nothing: the pictures are grey",
                "option --augment grayscale",
                "leave it out, or give --channels 3",
            )
        self.p = p

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``grey`` [N] bool."""
        return {"grey": key.uniform(1)[:, 0] < self.p}

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, parameters: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [N, 3, H, W], overwritten where ``grey``, and the targets as they are."""
        chosen = np.flatnonzero(parameters["grey"])
        if len(chosen):
            index = sent(chosen, images.device)
            colours = images.index_select(0, index).to(torch.int32).unbind(1)
            red, green, blue = (colour * share for colour, share in zip(colours, _LUMA, strict=True))
            luma = (red + green + blue + (1 << 15)) >> 16
            images.index_copy_(0, index, luma.to(torch.uint8)[:, None].expand(-1, 3, -1, -1))
        return images, targets
