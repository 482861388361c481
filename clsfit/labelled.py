"""The labelled pictures that a model is judged on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsfit.config import Selection
from clsfit.data import split
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError, printable
from clsfit.making import make
from clsfit.opening import filled, installed, is_unknown, open_named
from clsfit.registry import Plugins
from clsfit.storage.rundir import RunDirectory


def labelled(data: str | None, model: Path, class_names: tuple[str, ...], plugins: Plugins) -> tuple[Any, SampleTable]:
    """The data set to judge a model on, and its table with the model's classes.

    Args:
        data: a folder, an archive, a table, a file that a plugin opens, or a data set's name; None is that of the
            run that ``model`` lies in, with its recorded split.
        model: the model file.
        class_names: the model's, in its order.
        plugins: among which a data set's name is looked up.

    Raises:
        ConfigError: without ``data``, the file lies in no run directory.
        DataError: the data is not there, or has a class that the model does not know.
    """
    recorded = None
    chosen: Any = data
    if data is None:
        directory = RunDirectory(model.parent)
        if not directory.holds_run():
            raise ConfigError(
                f"{model} lies in no run directory, so its data is not known",
                "argument DATA",
                "name the folder or the data set to judge it on",
            )
        chosen, recorded = directory.read_data(), directory.read_split()
        place = chosen if isinstance(chosen, str) else _file(chosen, plugins)
        if place is not None and not os.path.exists(place):
            raise DataError(
                f"the run's own data is no longer at {printable(place)}",
                f"named in {directory.path / 'config.yaml'}",
                "give DATA: the folder where it is now",
            )
    source = _open(chosen, class_names, plugins)
    table = source.table().with_classes(class_names)
    return source, split.apply_recorded(table, recorded) if recorded is not None else table


def _open(data: Any, class_names: tuple[str, ...], plugins: Plugins) -> Any:
    name = data if isinstance(data, str) else data["name"]
    if isinstance(data, str) and os.path.exists(data):
        # the model's own plugins need not be those that open it
        others = is_unknown(data) and plugins.opener(data) is None
        return open_named(data, installed() if others else plugins, class_names)
    if name not in plugins.names("dataset"):
        raise DataError(
            f"there is no {printable(name)!r}",
            "argument DATA",
            "name a folder, an archive, a table, or a data set's plugin",
        )
    params = {} if isinstance(data, str) else {key: value for key, value in data.items() if key != "name"}
    return make(Selection(name, params, plugins.find("dataset", name)), filled(class_names))


def _file(data: Mapping[str, Any], plugins: Plugins) -> str | None:
    """The file that the recorded data set opened; None: it is none that opens files."""
    opens = any(data["name"] in {o.name, o.qualified} and o.component.endings for o in plugins.offers("dataset"))
    return str(data["path"]) if opens and "path" in data else None
