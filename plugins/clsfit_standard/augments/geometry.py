"""Augmentations as matrices: the core composes them with the resize into one warp.

A matrix maps a point (x, y, 1) of the output, in pixels from its centre, to the point of the picture
before the augmentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clsfit.keyed import Key

Parameters = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class HorizontalFlip:
    """Mirrors left and right. Not for classes that differ by it, such as letters or traffic signs.

    Args:
        p: probability of a flip, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def draw(self, key: Key, sizes: Ints) -> dict[str, npt.NDArray[Any]]:
        """``flip`` [N] bool."""
        return {"flip": key.uniform(1)[:, 0] < self.p}

    def matrix(self, parameters: Parameters, input_size: tuple[int, int]) -> Floats:
        """[N, 3, 3] float64: x -> -x where flipped."""
        return _matrices(np.where(parameters["flip"], -1.0, 1.0), 1.0)


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

    def draw(self, key: Key, sizes: Ints) -> dict[str, npt.NDArray[Any]]:
        """``shift`` [N, 2] float64: down and right, in pixels from the centred window.

        Args:
            key: what the draws depend on.
            sizes: [N, 2] int64, height and width of each picture at the input's scale, in pixels.
        """
        room = np.maximum(sizes - np.asarray(self.input_size) + 2 * self.padding, 0)
        return {"shift": np.floor(key.uniform(2) * (room + 1)) - room / 2}

    def matrix(self, parameters: Parameters, input_size: tuple[int, int]) -> Floats:
        """[N, 3, 3] float64: translations by the shift."""
        return _matrices(1.0, 1.0, parameters["shift"])


class RandomResizedCrop:
    """A box of random area and shape, resized to the input (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).

    The rule is torchvision's ``RandomResizedCrop``: a share of the picture's area, uniform in ``scale``,
    and a width by height, log-uniform in ``ratio``; a box that does not fit is drawn again, 10 times in
    all, and after that it is the largest centred box whose shape is within ``ratio``.

    Boxes come from the whole picture, not only from the window that validation sees, and have whole
    pixels of the picture at the input's scale. ``--resize`` says what that scale is: with ``stretch`` the
    shape is that of the stretched picture; with ``pad`` boxes come from the picture alone, so that training
    sees no black bars, where validation does.

    Args:
        scale: smallest and largest share of the picture's area, in (0, 1].
        ratio: smallest and largest width / height of the box, > 0, in pixels of the picture.
    """

    tries = 10

    def __init__(self, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        self.scale, self.ratio = scale, ratio

    def draw(self, key: Key, sizes: Ints) -> dict[str, npt.NDArray[Any]]:
        """``box`` [N, 4] int64: top, left, height, width; ``sizes`` [N, 2] int64: of the pictures, as given."""
        drawn = key.uniform(2 * self.tries + 2)
        share, shape, place = drawn[:, : self.tries], drawn[:, self.tries : -2], drawn[:, -2:]
        area = sizes.prod(1)[:, None] * (self.scale[0] + share * (self.scale[1] - self.scale[0]))
        low, high = np.log(self.ratio)
        root = np.exp((low + shape * (high - low)) / 2)  # of width / height
        boxes = np.rint(np.stack([np.sqrt(area) / root, np.sqrt(area) * root], axis=2)).astype(np.int64)
        fits = ((boxes > 0) & (boxes <= sizes[:, None])).all(2)
        found, first = fits.any(1)[:, None], fits.argmax(1)
        box = np.where(found, boxes[np.arange(len(boxes)), first], self._largest(sizes))
        free = sizes - box
        corner = np.where(found, np.floor(place * (free + 1)), free // 2).astype(np.int64)
        return {"box": np.concatenate([corner, box], axis=1), "sizes": sizes}

    def _largest(self, sizes: Ints) -> Ints:
        """[N, 2] int64: the largest box within ``ratio`` that fits into pictures [N, 2]."""
        high, wide = sizes[:, 0], sizes[:, 1]
        shape = np.clip(wide / high, *self.ratio)
        box = np.stack([np.minimum(high, np.rint(wide / shape)), np.minimum(wide, np.rint(high * shape))], axis=1)
        largest: Ints = np.maximum(box, 1).astype(np.int64)
        return largest

    def matrix(self, parameters: Parameters, input_size: tuple[int, int]) -> Floats:
        """[N, 3, 3] float64: the output onto the box."""
        corner, box = parameters["box"][:, :2], parameters["box"][:, 2:]
        scale = box / np.array(input_size, dtype=np.float64)
        return _matrices(scale[:, 1], scale[:, 0], corner + box / 2 - parameters["sizes"] / 2)


class Rotate:
    """Turns the picture about the middle of the window, by an angle that is uniform in [-degrees, degrees].

    Args:
        degrees: the largest angle, in [0, 180].
        corners: ``zoom``: zooms in just as far as hides what lies outside the picture, so that no corner is
            black; where the picture is larger than the window, small angles need no zoom. ``black``: leaves
            the size as it is, and what lies outside the picture black. Bars of ``--resize pad`` count as
            picture, and turn with it.
    """

    def __init__(self, degrees: float = 10.0, corners: Literal["zoom", "black"] = "zoom") -> None:
        self.degrees, self.corners = degrees, corners

    def draw(self, key: Key, sizes: Ints) -> dict[str, npt.NDArray[Any]]:
        """``angle`` [N] float64 in radians, counter-clockwise; ``sizes`` [N, 2] int64: of the pictures, as given."""
        return {"angle": np.deg2rad((2 * key.uniform(1)[:, 0] - 1) * self.degrees), "sizes": sizes}

    def matrix(self, parameters: Parameters, input_size: tuple[int, int]) -> Floats:
        """[N, 3, 3] float64: rotations, with ``zoom`` times what makes the window fit into the picture."""
        cos, sin = np.cos(parameters["angle"]), np.sin(parameters["angle"])
        high, wide = input_size
        zoom = np.ones_like(cos)
        if self.corners == "zoom":
            picture = np.maximum(parameters["sizes"], input_size)
            tall = high * np.abs(cos) + wide * np.abs(sin)
            broad = wide * np.abs(cos) + high * np.abs(sin)
            zoom = np.minimum(1.0, np.minimum(picture[:, 0] / tall, picture[:, 1] / broad))
        matrices = _matrices(zoom * cos, zoom * cos)
        matrices[:, 0, 1], matrices[:, 1, 0] = -zoom * sin, zoom * sin
        return matrices


class CenterCrop:
    """The middle of the window, enlarged to the input. Not random.

    Validation, evaluation and prediction apply it too, and the model file records it. What is listed after it
    may move over the whole picture, as it may beyond the window: ``random_resized_crop`` takes its boxes from
    all of it, and a small turn of ``rotate`` needs no zoom. What is listed before it is cropped by it.

    Args:
        fraction: of the window's height and width that is kept, in (0, 1].
    """

    always = True

    def __init__(self, fraction: float = 0.875) -> None:
        self.fraction = fraction

    def draw(self, key: Key, sizes: Ints) -> dict[str, npt.NDArray[Any]]:
        """``fraction`` [N] float64, the same for all."""
        return {"fraction": np.full(len(sizes), self.fraction)}

    def matrix(self, parameters: Parameters, input_size: tuple[int, int]) -> Floats:
        """[N, 3, 3] float64: the output onto the middle."""
        return _matrices(parameters["fraction"], parameters["fraction"])


def _matrices(x: float | Floats, y: float | Floats, shift: Floats | None = None) -> Floats:
    """[N, 3, 3] float64: x and y times a factor (one, or [N]), then moved by ``shift`` [N, 2] down and right."""
    count = len(shift) if shift is not None else len(np.atleast_1d(x))
    matrices = np.zeros((count, 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 2, 2] = x, y, 1.0
    if shift is not None:
        matrices[:, :2, 2] = shift[:, ::-1]
    return matrices
