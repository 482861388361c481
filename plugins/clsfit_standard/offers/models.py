"""The models on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from clsfit import Component


@dataclass(frozen=True, slots=True)
class SmallCNNOptions:
    width: Annotated[int, "channels of the first convolution", Ge(1)] = 32
    dropout: Annotated[float, "probability of dropping a feature before the last layer", Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True)
class MLPOptions:
    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], "units of each hidden layer; empty: a linear model"] = (128,)
    dropout: Annotated[float, "probability of dropping a unit of a hidden layer", Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True)
class ResNet18Options:
    stem: Annotated[
        Literal["imagenet", "small"],
        "first layers: 7x7 with stride 4 for photographs, or 3x3 with stride 1 for pictures below 65 pixels",
    ] = "imagenet"


COMPONENTS = (
    Component(
        "small_cnn",
        "clsfit_standard.models.small_cnn:SmallCNN",
        "a few convolutions, for pictures from 4x4 pixels",
        SmallCNNOptions,
    ),
    Component("mlp", "clsfit_standard.models.mlp:MLP", "fully connected layers", MLPOptions),
    Component(
        "resnet18",
        "clsfit_standard.models.resnet18:resnet18",
        "torchvision's ResNet-18",
        ResNet18Options,
        "https://arxiv.org/abs/1512.03385",
    ),
)
