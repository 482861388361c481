"""What the bundled plugin offers: a module per kind, with each component's options. No torch here.

A field ``name: Annotated[type, "help", bounds...] = default`` of an options class is the option
``--SLOT.name``. What bounds cannot say is checked by ``__post_init__``, whose ValueError becomes the
usage error. Counts carry their unit in the name or in the help text. The classes are neither frozen nor
comparable: making those methods, for each of them, was most of what a listing cost.
"""

from clsfit_standard.offers import (
    augments,
    callbacks,
    datasets,
    losses,
    metrics,
    models,
    optimizers,
    recipes,
    samplers,
    schedulers,
)

__all__ = [
    "augments",
    "callbacks",
    "datasets",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "recipes",
    "samplers",
    "schedulers",
]
