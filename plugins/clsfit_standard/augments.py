"""Augmentations as matrices: the core composes them with the resize into one warp.

A matrix maps a point (x, y, 1) of the output, in pixels from its centre, to the point of the picture
before the augmentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.keyed import Key


class HorizontalFlip:
    """Mirrors left and right. Not for classes that differ by it, such as letters or traffic signs.

    Args:
        p: probability of a flip, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``flip`` [N] bool."""
        return {"flip": key.uniform(1)[:, 0] < self.p}

    def matrix(
        self, parameters: Mapping[str, npt.NDArray[Any]], input_size: tuple[int, int]
    ) -> npt.NDArray[np.float64]:
        """[N, 3, 3] float64: x -> -x where flipped."""
        matrices = np.tile(np.eye(3), (len(parameters["flip"]), 1, 1))
        matrices[parameters["flip"], 0, 0] = -1.0
        return matrices


class Crop:
    """A window of the input's size, anywhere on the picture with a black border around it.

    The picture is taken at the scale of the input (its short side resized to the window's); windows
    begin at whole pixels of it, each as likely as the others. With ``padding`` 4 on 32x32 pictures it
    is the usual CIFAR augmentation.

    Args:
        input_size: (height, width) of the window in pixels.
        padding: width of the border in pixels of the input, >= 0.
    """

    def __init__(self, input_size: tuple[int, int], padding: int = 4) -> None:
        self.input_size, self.padding = input_size, padding

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``shift`` [N, 2] float64: down and right, in pixels from the centred window.

        Args:
            key: what the draws depend on.
            sizes: [N, 2] int64, height and width of each picture at the input's scale, in pixels.
        """
        room = np.maximum(sizes - np.asarray(self.input_size) + 2 * self.padding, 0)
        return {"shift": np.floor(key.uniform(2) * (room + 1)) - room / 2}

    def matrix(
        self, parameters: Mapping[str, npt.NDArray[Any]], input_size: tuple[int, int]
    ) -> npt.NDArray[np.float64]:
        """[N, 3, 3] float64: translations by the shift."""
        matrices = np.tile(np.eye(3), (len(parameters["shift"]), 1, 1))
        matrices[:, :2, 2] = parameters["shift"][:, ::-1]
        return matrices
