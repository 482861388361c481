"""The augmentations on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from clsfit import Component


@dataclass(eq=False, repr=False)
class HorizontalFlipOptions:
    p: Annotated[float, "probability of a flip", Ge(0), Le(1)] = 0.5


@dataclass(eq=False, repr=False)
class CropOptions:
    padding: Annotated[int, "black border on each side, in pixels of the model's input", Ge(0)] = 4


@dataclass(eq=False, repr=False)
class RandomResizedCropOptions:
    scale: Annotated[
        tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]],
        "smallest and largest share of the picture's area",
    ] = (0.08, 1.0)
    ratio: Annotated[
        tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]],
        "smallest and largest width / height of the box",
    ] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            smallest, largest = getattr(self, name)
            if smallest > largest:
                raise ValueError(f"{name}: the smallest comes first, {smallest:g} is above {largest:g}")


@dataclass(eq=False, repr=False)
class RotateOptions:
    degrees: Annotated[float, "largest angle to either side, in degrees", Ge(0), Le(180)] = 10.0
    corners: Annotated[Literal["zoom", "black"], "zoom in until no corner is black, or leave corners black"] = "zoom"


@dataclass(eq=False, repr=False)
class CenterCropOptions:
    fraction: Annotated[float, "share of height and width that is kept", Gt(0), Le(1)] = 0.875


@dataclass(eq=False, repr=False)
class GrayscaleOptions:
    p: Annotated[float, "probability that a picture loses its colour", Ge(0), Le(1)] = 0.1


@dataclass(eq=False, repr=False)
class MixUpOptions:
    alpha: Annotated[float, "of Beta(alpha, alpha), from which a sample's share is drawn", Gt(0)] = 0.2
    p: Annotated[float, "probability that a sample is mixed", Ge(0), Le(1)] = 1.0


@dataclass(eq=False, repr=False)
class CutMixOptions:
    alpha: Annotated[float, "of Beta(alpha, alpha), from which a sample's share is drawn", Gt(0)] = 1.0
    p: Annotated[float, "probability that a sample is mixed", Ge(0), Le(1)] = 1.0


COMPONENTS = (
    Component(
        "hflip", "clsfit_standard.augments.geometry:HorizontalFlip", "mirrors left and right", HorizontalFlipOptions
    ),
    Component("crop", "clsfit_standard.augments.geometry:Crop", "a random window of the padded picture", CropOptions),
    Component(
        "random_resized_crop",
        "clsfit_standard.augments.geometry:RandomResizedCrop",
        "a random box of the picture, resized to the input",
        RandomResizedCropOptions,
        "https://arxiv.org/abs/1409.4842",
    ),
    Component("rotate", "clsfit_standard.augments.geometry:Rotate", "turns by a random angle", RotateOptions),
    Component(
        "center_crop",
        "clsfit_standard.augments.geometry:CenterCrop",
        "the middle of the picture, also in validation and prediction",
        CenterCropOptions,
    ),
    Component("grayscale", "clsfit_standard.augments.colour:Grayscale", "takes the colour away", GrayscaleOptions),
    Component(
        "mixup",
        "clsfit_standard.augments.mixing:MixUp",
        "blends each picture with another, targets too",
        MixUpOptions,
        "https://arxiv.org/abs/1710.09412",
    ),
    Component(
        "cutmix",
        "clsfit_standard.augments.mixing:CutMix",
        "pastes a box of another picture, targets too",
        CutMixOptions,
        "https://arxiv.org/abs/1905.04899",
    ),
)
