"""``clsfit_loses`` should be ``clsfit_losses``."""

from clsfit import Component, hookimpl


@hookimpl
def clsfit_loses():
    yield Component("hinge", "clsfit_misspelt.hinge:Hinge", "the hinge loss")
