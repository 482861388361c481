"""The metrics on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(frozen=True, slots=True)
class AverageOptions:
    average: Annotated[
        Literal["macro", "micro", "weighted"],
        "over classes equally, over all samples at once, or over classes by their number of samples",
    ] = "macro"
    zero_division: Annotated[int, "value where the denominator is 0: 0 or 1", Ge(0), Le(1)] = 0


COMPONENTS = (
    Component("accuracy", "clsfit_standard.metrics:Accuracy", "share of samples that are right", NoOptions),
    Component(
        "precision",
        "clsfit_standard.metrics:Precision",
        "right ones among those predicted as a class",
        AverageOptions,
    ),
    Component("recall", "clsfit_standard.metrics:Recall", "found ones among those of a class", AverageOptions),
    Component(
        "f1",
        "clsfit_standard.metrics:F1",
        "harmonic mean of precision and recall",
        AverageOptions,
        "https://arxiv.org/abs/1911.03347",
    ),
)
