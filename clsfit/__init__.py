"""clsfit: train, judge and apply image classifiers; every part is a plugin from pip.

``from clsfit import Component, hookimpl`` is all that a plugin's hook module needs. The Python API
beside the command line is :func:`train`, :func:`bench` and :func:`load`. Importing this package is instant: torch
is imported when a function that needs it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsfit.hookspecs import Component, hookimpl

if TYPE_CHECKING:
    from clsfit.api import Benchmark, Model, TrainedRun, bench, load, train

__version__ = "0.1.0"

__all__ = [
    "Benchmark",
    "Component",
    "Model",
    "TrainedRun",
    "__version__",
    "bench",
    "hookimpl",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in {"train", "bench", "load", "Benchmark", "Model", "TrainedRun"}:
        import clsfit.api

        return getattr(clsfit.api, name)
    raise AttributeError(f"module 'clsfit' has no attribute {name!r}")
