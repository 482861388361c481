"""Training in ranks, as a test asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from PIL import Image
from rank_plugin import SEEN, SIGNAL

import clsfit.build  # noqa: F401
from clsfit.config import Config, resolve
from clsfit.registry import Plugins
from clsfit.training import Control, train_config


def prepare() -> None:
    """Imports what runs import late, so that it is done once."""
    import_module("torch._dynamo")  # by torch.optim.SGD's own step
    Image.preinit()
    configured({"data": "."})


def configured(options: dict[str, Any]) -> tuple[Config, Plugins]:
    points = [*entry_points(group="clsfit"), EntryPoint("rank_plugin", "rank_plugin", "clsfit")]
    plugins = Plugins.discover(points=points)
    fixed = {"model": "net", "metric": ["accuracy", "f1"], "threads": 1, "epochs": 2, "batch_size": 12}
    return resolve(plugins, options=fixed | options), plugins


def train(
    data: str,
    output: str,
    options: dict[str, Any],
    resume: bool = False,
    accept: bool = False,
    fails: str = "",
    signal_at: Sequence[int] = (),
) -> dict[str, Any]:
    """Trains in this process, alone or as a rank.

    Args:
        fails: the kind of error by which it has to end.
        signal_at: step and rank.

    Returns:
        What :class:`rank_plugin.LookOn` has ``seen``, and the ``error``.
    """
    SIGNAL[:] = signal_at
    config, plugins = configured(options | {"data": data})
    error = ""
    try:
        train_config(config, plugins, Control(Path(output), resume=resume, accept_changes=accept, verbosity=0))
    except Exception as raised:
        if type(raised).__name__ != fails:
            raise
        error = str(raised)
    assert bool(fails) == bool(error)
    return {"seen": SEEN, "error": error}
