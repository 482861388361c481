"""The augmentations on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from clsfit import Component


@dataclass(frozen=True, slots=True)
class HorizontalFlipOptions:
    p: Annotated[float, "probability of a flip", Ge(0), Le(1)] = 0.5


@dataclass(frozen=True, slots=True)
class CropOptions:
    padding: Annotated[int, "black border on each side, in pixels of the model's input", Ge(0)] = 4


COMPONENTS = (
    Component("hflip", "clsfit_standard.augments:HorizontalFlip", "mirrors left and right", HorizontalFlipOptions),
    Component("crop", "clsfit_standard.augments:Crop", "a random window of the padded picture", CropOptions),
)
