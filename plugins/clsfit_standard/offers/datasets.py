"""The data sets on offer."""

from __future__ import annotations

from clsfit import Component
from clsfit_standard.offers.none import NoOptions

COMPONENTS = (
    Component(
        "digits",
        "clsfit_standard.datasets:Digits",
        "1,797 handwritten digits of 8x8 pixels, inside scikit-learn",
        NoOptions,
        "https://doi.org/10.24432/C50P49",
    ),
)
