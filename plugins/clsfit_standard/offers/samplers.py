"""The samplers on offer, with their options."""

from __future__ import annotations

from clsfit import Component
from clsfit_standard.offers.none import NoOptions

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
        "as many pictures of every class in each epoch, in random order",
        NoOptions,
    ),
)
