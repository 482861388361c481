"""The losses on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(frozen=True, slots=True)
class FocalOptions:
    gamma: Annotated[float, "how much easy samples count less; 0 is cross entropy", Ge(0)] = 2.0


COMPONENTS = (
    Component(
        "cross_entropy",
        "clsfit_standard.losses:CrossEntropy",
        "cross entropy, class indices or soft targets",
        NoOptions,
    ),
    Component(
        "focal",
        "clsfit_standard.losses:Focal",
        "cross entropy that looks less at easy samples",
        FocalOptions,
        "https://arxiv.org/abs/1708.02002",
    ),
)
