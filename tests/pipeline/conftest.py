"""Canvases without files, and augmentations written as a plugin's author would."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from clsfit.data.decode import PictureError
from clsfit.data.table import SampleTable


class FakeCanvases:
    """Arrays in memory with the interface of the real canvases; rows in ``unreadable`` fail."""

    def __init__(self, arrays, *, uniform=False, tier="memory", unreadable=(), decoded_by=""):
        self.arrays, self.tier, self.why, self.unreadable = list(arrays), tier, "the test says so", set(unreadable)
        self.decoded_by, self.times = decoded_by, 1.0
        self.sizes = np.array([array.shape[:2] for array in self.arrays], dtype=np.int64)
        self.uniform = np.stack(self.arrays) if uniform else None
        for array in self.arrays:
            array.flags.writeable = False  # as a mapped cache's

    def get(self, row):
        if row in self.unreadable:
            raise PictureError("a broken header")
        return self.arrays[row]


class Source:
    """A data set of pixel arrays, as a plugin's may be, of at most seven classes."""

    def __init__(self, arrays, targets):
        self.arrays, self.targets = arrays, targets

    def table(self):
        names, blank = tuple(f"{i}.png" for i in range(len(self.arrays))), ("",) * len(self.arrays)
        return SampleTable(names, tuple("abcdefg"), self.targets, blank, blank, None)

    def read(self, row):
        return self.arrays[row]


class HFlip:
    def draw(self, key, sizes):
        return {"flip": key.uniform(1)[:, 0] < 0.5}

    def matrix(self, parameters, input_size):
        matrix = np.tile(np.eye(3), (len(parameters["flip"]), 1, 1))
        matrix[parameters["flip"], 0, 0] = -1.0
        return matrix


class Crop:
    """A window anywhere in the resized picture, which is padded by ``padding`` pixels."""

    def __init__(self, padding):
        self.padding = padding

    def corner(self, parameters, input_size):
        free = parameters["sizes"] - np.array(input_size) + 2 * self.padding + 1
        return np.floor(parameters["u"] * free).astype(np.int64) - self.padding

    def draw(self, key, sizes):
        return {"u": key.uniform(2), "sizes": sizes}

    def matrix(self, parameters, input_size):
        shift = self.corner(parameters, input_size) - (parameters["sizes"] - np.array(input_size)) / 2
        matrix = np.tile(np.eye(3), (len(shift), 1, 1))
        matrix[:, 0, 2], matrix[:, 1, 2] = shift[:, 1], shift[:, 0]
        return matrix


class Rotate:
    def __init__(self, degrees=15.0):
        self.degrees = degrees

    def draw(self, key, sizes):
        return {"angle": np.deg2rad((key.uniform(1)[:, 0] * 2 - 1) * self.degrees)}

    def matrix(self, parameters, input_size):
        angle = parameters["angle"]
        matrix = np.tile(np.eye(3), (len(angle), 1, 1))
        matrix[:, 0, 0] = matrix[:, 1, 1] = np.cos(angle)
        matrix[:, 0, 1], matrix[:, 1, 0] = -np.sin(angle), np.sin(angle)
        return matrix


class Zoom:
    """Scales of 0.5 to 2 per side, so boxes that need a resize."""

    def draw(self, key, sizes):
        return {"scale": 2.0 ** (key.uniform(2) * 2 - 1)}

    def matrix(self, parameters, input_size):
        matrix = np.tile(np.eye(3), (len(parameters["scale"]), 1, 1))
        matrix[:, 0, 0], matrix[:, 1, 1] = parameters["scale"].T
        return matrix


class Brighten:
    def draw(self, key, sizes):
        return {"add": key.integers(1, 100)[:, 0]}

    def table(self, parameters):
        return np.clip(np.arange(256) + parameters["add"][:, None], 0, 255).astype(np.uint8)


class Mix:
    """Blends every sample with its neighbour in the batch: the result depends on the micro-batch."""

    def __init__(self, classes):
        self.classes = classes

    def draw(self, key, sizes):
        return {"share": key.uniform(1)[:, 0]}

    def apply(self, images, targets, parameters):
        import torch

        share = torch.from_numpy(parameters["share"]).to(torch.float32)
        hot = torch.nn.functional.one_hot(targets, self.classes).float()
        wide = share[:, None, None, None]
        mixed = (images * wide + images.roll(1, 0) * (1 - wide)).round().to(torch.uint8)
        return mixed, hot * share[:, None] + hot.roll(1, 0) * (1 - share[:, None])


@pytest.fixture
def fakes():
    return SimpleNamespace(
        Canvases=FakeCanvases,
        Source=Source,
        HFlip=HFlip,
        Crop=Crop,
        Rotate=Rotate,
        Zoom=Zoom,
        Brighten=Brighten,
        Mix=Mix,
    )


@pytest.fixture
def noise():
    """Makes ``count`` pictures [h, w, channels], each of its own size where ``sizes`` is a range (low, high)."""

    def make(count, size, channels=3, seed=0):
        generator = np.random.default_rng(seed)
        sides = [generator.integers(*size, 2) if isinstance(size, tuple) else (size, size) for _ in range(count)]
        return [generator.integers(0, 256, (*side, channels), dtype=np.uint8) for side in sides]

    return make


@pytest.fixture
def smooth():
    """A picture without edges, [h, w, 3]: resampling methods of one kind agree on it."""

    def make(high, wide):
        y, x = np.mgrid[:high, :wide].astype(np.float64)
        waves = [127 + 120 * np.sin(x / (9 + 4 * c) + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
        return np.stack(waves, axis=2).round().astype(np.uint8)

    return make
