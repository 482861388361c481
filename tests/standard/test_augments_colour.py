"""Augmentations of colours, against torchvision and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clsfit_standard.augments.colour import Grayscale
from PIL import Image
from torchvision.transforms import v2

from clsfit.errors import ConfigError
from clsfit.keyed import Key


def noise(count: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_grey_equals_torchvision_within_a_level_and_pillow_to_the_byte(layout: torch.memory_format) -> None:
    images, targets = noise().to(memory_format=layout), torch.arange(6)
    made, same = Grayscale(3).apply(images.clone(), targets, {"grey": np.ones(6, bool)})
    assert same is targets
    assert (made == made[:, :1]).all()
    theirs = v2.functional.rgb_to_grayscale(images, num_output_channels=3)
    assert (made.int() - theirs.int()).abs().max() <= 1
    for picture, grey in zip(images, made, strict=True):
        pillow = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).convert("L")
        assert np.array_equal(grey[0].numpy(), np.asarray(pillow))


def test_only_those_drawn_lose_their_colour() -> None:
    images = noise()
    chosen = np.array([True, False, False, True, False, False])
    made, _ = Grayscale(3).apply(images.clone(), torch.arange(6), {"grey": chosen})
    assert torch.equal(made[~chosen], images[~chosen])
    assert (made[chosen] == made[chosen][:, :1]).all()


@pytest.mark.parametrize(("p", "low", "high"), [(0.0, 0, 0), (0.1, 0.08, 0.12), (1.0, 1, 1)])
def test_probability(p: float, low: float, high: float) -> None:
    drawn = Grayscale(3, p).draw(Key(0, 0, np.arange(4000), "g"), np.ones((4000, 2), np.int64))
    assert low <= drawn["grey"].mean() <= high


def test_grey_pictures_refuse_it() -> None:
    with pytest.raises(ConfigError, match="grayscale"):
        Grayscale(1)
