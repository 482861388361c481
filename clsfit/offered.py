"""The data sets that plugins offer, opened by their name or by the ending of a file. No torch here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from clsfit.config import Selection, switches
from clsfit.data.columns import GUESSED, Columns, refuse
from clsfit.data.intake import open_path
from clsfit.endings import OWN
from clsfit.errors import printable
from clsfit.making import make
from clsfit.parameters import validate
from clsfit.registry import Plugins
from clsfit.signatures import lists


def check_columns(selection: Selection, columns: Columns) -> None:
    """Refuses names of columns for a data set that has none.

    Raises:
        ConfigError: ``columns`` names some.
        PluginError: the data set cannot be imported.
    """
    if columns.given() and not lists(selection.offer.load(), "columns"):
        refuse(columns, f"data set {printable(selection.name)}")


def open_offered(selection: Selection, classes: Sequence[str] | None = None, columns: Columns = GUESSED) -> Any:
    """The data set that ``selection`` names.

    Args:
        selection: of a ``dataset``.
        classes: names in their order, as a model knows them.
        columns: names of a table's columns that are not guessed.

    Raises:
        ConfigError: ``columns`` names some, and this data set has none.
        PluginError: it cannot be imported, or its factory raised.
    """
    check_columns(selection, columns)
    return make(selection, {"columns": columns, "class_names": None if classes is None else tuple(classes)})


def open_named(data: str, plugins: Plugins, classes: Sequence[str] | None = None, columns: Columns = GUESSED) -> Any:
    """The data set that DATA names: what is at that path, or a data set of that name.

    Args:
        data: a path or a name.
        plugins: among which a file's ending and a name are looked up.
        classes: names in their order, as a model knows them.
        columns: names of a table's columns that are not guessed.

    Raises:
        ClsfitError: there is none, or it cannot be used.
    """
    if not os.path.exists(data):
        return open_offered(Selection(data, {}, plugins.find("dataset", data)), classes, columns)
    if (opener := plugins.opener(data)) is not None:
        chosen = Selection(plugins.short_name(opener), validate(opener, {"path": data}, "--data"), opener)
        return open_offered(chosen, classes, columns)
    if is_unknown(data):
        raise plugins.refusal(data)
    return open_path(data, classes, columns)


def installed() -> Plugins:
    """All plugins that are installed, but those that the environment switches off."""
    off = switches()
    return Plugins.discover(disable=off.disable, may_be_absent=off.standing, bundled_only=off.bundled_only)


def is_unknown(data: str) -> bool:
    """Whether DATA is a file that only a plugin could open."""
    return os.path.isfile(data) and not data.lower().endswith(OWN)
