"""The labelled pictures that a model is judged on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsfit.config import Selection
from clsfit.config.settings import COLUMNS, option_name, read_setting
from clsfit.data import split, split_by
from clsfit.data.columns import Columns
from clsfit.data.table import SampleTable
from clsfit.errors import CheckpointError, ConfigError, DataError, printable
from clsfit.offered import installed, is_unknown, open_named, open_offered
from clsfit.registry import Plugins
from clsfit.storage.rundir import CONFIG, RunDirectory


def check_options(data: str | None, options: Mapping[str, str | None]) -> None:
    """Refuses what :func:`labelled` would, as far as options alone tell it.

    Raises:
        ConfigError: an option without effect.
    """
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None and data is None:
        raise ConfigError(
            f"{option_name(given)} has no effect without DATA: the run's own columns and split are used",
            f"option {option_name(given)}",
            "leave it out, or name DATA",
        )
    split_by.refuse_ratio(options.get("split_by"))


def labelled(
    data: str | None,
    model: Path,
    class_names: tuple[str, ...],
    plugins: Plugins,
    options: Mapping[str, str | None] | None = None,
) -> tuple[Any, SampleTable]:
    """The data set to judge a model on, and its table with the model's classes.

    Args:
        data: a folder, an archive, a table, a file that a plugin opens, or a data set's name; None is that of the
            run that ``model`` lies in, with its recorded split.
        model: the model file.
        class_names: the model's, in its order.
        plugins: among which a data set's name is looked up.
        options: ``path_column``, ``label_column``, ``weight_column``, ``split_by`` for ``data``, as those of ``train``.

    Raises:
        ConfigError: without ``data``, the file lies in no run directory; an option without effect.
        DataError: the data is not there, or has a class that the model does not know.
    """
    wanted = dict(options or {})
    check_options(data, wanted)
    recorded, left_out = None, frozenset[str]()
    chosen: Any = data
    if data is None:
        directory = RunDirectory(model.parent)
        if not directory.holds_run():
            raise ConfigError(
                f"{model} lies in no run directory, so its data is not known",
                "argument DATA",
                "name the folder or the data set to judge it on",
            )
        chosen, recorded, wanted = directory.read_data(), directory.read_split(), _own_options(directory)
        left_out = _left_out(directory)
        place = chosen if isinstance(chosen, str) else _file(chosen, plugins)
        if place is not None and not os.path.exists(place):
            raise DataError(
                f"the run's own data is no longer at {printable(place)}",
                f"named in {directory.path / 'config.yaml'}",
                "give DATA: the folder where it is now",
            )
    columns = split_by.columns_of(**{name: wanted.get(name) for name in COLUMNS})
    source = _open(chosen, class_names, plugins, columns)
    table = source.table().with_classes(class_names)
    if recorded is None:
        return source, split_by.divide(source, table, wanted.get("split_by")).table
    if _has_other_groups(wanted):
        table = replace(table, groups=())
    return source, split.apply_recorded(table, recorded, left_out=left_out)


def _own_options(directory: RunDirectory) -> dict[str, str | None]:
    """What the run's configuration says of columns, groups and the split."""
    tree, place = directory.read_tree(), printable(str(directory.path / CONFIG))
    try:
        return {name: read_setting(name, tree[name], place) for name in (*COLUMNS, "group_regex") if name in tree}
    except ConfigError as error:
        raise CheckpointError(error.what, error.where, "restore it from a backup, or give DATA") from error


def _left_out(directory: RunDirectory) -> frozenset[str]:
    """The paths that environment.json says the run could not read."""
    data = directory.read_environment().get("data")
    paths = data.get("left_out") if isinstance(data, dict) else None
    return frozenset(map(str, paths)) if isinstance(paths, list) else frozenset()


def _has_other_groups(own: Mapping[str, str | None]) -> bool:
    """Whether a run's groups are not those that its data set names itself."""
    by = own.get("split_by")
    return (
        own.get("group") == split_by.PARENT or bool(own.get("group_regex")) or (by is not None and split_by.is_file(by))
    )


def _open(data: Any, class_names: tuple[str, ...], plugins: Plugins, columns: Columns) -> Any:
    name = data if isinstance(data, str) else data["name"]
    if isinstance(data, str) and os.path.exists(data):
        # the model's own plugins need not be those that open it
        others = is_unknown(data) and plugins.opener(data) is None
        return open_named(data, installed() if others else plugins, class_names, columns)
    provider = name.rpartition(":")[0]
    if name not in plugins.names("dataset") and not any(plugin.answers_to(provider) for plugin in plugins.plugins):
        raise DataError(
            f"there is no {printable(name)!r}",
            "argument DATA",
            "name a folder, an archive, a table, or a data set's plugin",
        )
    params = {} if isinstance(data, str) else {key: value for key, value in data.items() if key != "name"}
    return open_offered(Selection(name, params, plugins.find("dataset", name)), class_names, columns)


def _file(data: Mapping[str, Any], plugins: Plugins) -> str | None:
    """The file that the recorded data set opened; None: it is none that opens files."""
    opens = any(data["name"] in {o.name, o.qualified} and o.component.endings for o in plugins.offers("dataset"))
    return str(data["path"]) if opens and "path" in data else None
