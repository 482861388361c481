"""The samplers on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(eq=False, repr=False)
class BalancedOptions:
    temperature: Annotated[
        float | None,
        "classes of n pictures get shares like n**(1/temperature), 1: as they are; none: all the same",
        Ge(1),
    ] = None


COMPONENTS = (
    Component(
        "shuffle",
        "clsfit_standard.samplers:Shuffle",
        "every picture once per epoch, in random order",
        NoOptions,
    ),
    Component(
        "balanced",
        "clsfit_standard.samplers:Balanced",
        "as many pictures of every class in each epoch, or nearly, in random order",
        BalancedOptions,
    ),
)
