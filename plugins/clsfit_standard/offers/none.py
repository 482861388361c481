"""The options of a component that has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False, repr=False)
class NoOptions:
    """A component without options."""
