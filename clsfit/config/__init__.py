"""The run's configuration as one tree: recipes, files, environment, ``--set`` and options.

:func:`resolve` reads the layers, checks everything and returns a :class:`Config`. Nothing here
imports torch, but for a selected component without ``params``, whose target is imported to read its
signature, after everything else has been checked.
"""

from __future__ import annotations

from clsfit.config.layers import SLOTS
from clsfit.config.resolve import Switches, resolve, switches
from clsfit.config.schema import json_schema
from clsfit.config.settings import Settings
from clsfit.config.tree import Config, Selection, differences, flatten, free_keys

__all__ = [
    "SLOTS",
    "Config",
    "Selection",
    "Settings",
    "Switches",
    "differences",
    "flatten",
    "free_keys",
    "json_schema",
    "resolve",
    "switches",
]
