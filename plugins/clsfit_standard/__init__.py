"""The bundled plugin: what clsfit offers out of the box, through the same door as a stranger's.

Nothing here imports torch. Each offer names its factory by a text; the factory's module is imported
when a run selects it. What is offered, and with which options: :mod:`clsfit_standard.offers`.
"""

from __future__ import annotations

from collections.abc import Iterable

from clsfit import Component, hookimpl
from clsfit_standard import offers


@hookimpl
def clsfit_losses() -> Iterable[Component]:
    return offers.losses.COMPONENTS


@hookimpl
def clsfit_optimizers() -> Iterable[Component]:
    return offers.optimizers.COMPONENTS


@hookimpl
def clsfit_schedulers() -> Iterable[Component]:
    return offers.schedulers.COMPONENTS


@hookimpl
def clsfit_metrics() -> Iterable[Component]:
    return offers.metrics.COMPONENTS


@hookimpl
def clsfit_callbacks() -> Iterable[Component]:
    return offers.callbacks.COMPONENTS


@hookimpl
def clsfit_models() -> Iterable[Component]:
    return offers.models.COMPONENTS


@hookimpl
def clsfit_datasets() -> Iterable[Component]:
    return offers.datasets.COMPONENTS


@hookimpl
def clsfit_samplers() -> Iterable[Component]:
    return offers.samplers.COMPONENTS


@hookimpl
def clsfit_augments() -> Iterable[Component]:
    return offers.augments.COMPONENTS


@hookimpl
def clsfit_recipes() -> Iterable[Component]:
    return offers.recipes.COMPONENTS
