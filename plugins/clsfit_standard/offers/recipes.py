"""The recipes on offer."""

from __future__ import annotations

from clsfit import Component

COMPONENTS = (
    Component("default", "clsfit_standard:recipes/default.yaml", "what a run uses where nothing else is said"),
)
