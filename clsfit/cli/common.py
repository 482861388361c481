"""What several commands share: their options for the machine, and loading a model."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clsfit.api import Model
    from clsfit.registry import Plugins

Job = Callable[[], None]
"""What a command's function returns: Typer only parses, and :func:`clsfit.cli.main` does the work."""

MACHINE = "Machine"
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="<n>", min=1, help="pictures at a time", rich_help_panel=MACHINE),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="<auto|cpu|cuda|cuda:N|mps>",
        help="where to compute",
        rich_help_panel=MACHINE,
        autocompletion=lambda: ["auto", "cpu", "cuda", "mps"],
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="<n>", min=0, help="threads that read pictures", rich_help_panel=MACHINE),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="<n>", min=1, help="threads that compute, on a CPU", rich_help_panel=MACHINE),
]
TABLES = "Tables"
PathColumn = Annotated[
    str | None,
    typer.Option(
        "--path-column",
        metavar="<column>",
        help="a table's column that says where a picture is; without it, by its usual names",
        rich_help_panel=TABLES,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="<column>",
        help="a table's column of the classes; without it, by its usual names",
        rich_help_panel=TABLES,
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        "--weight-column",
        metavar="<column>",
        help="a table's column of the pictures' weights; without it weight, if there",
        rich_help_panel=TABLES,
    ),
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        "--split-by",
        metavar="<folder|column|file>",
        help="what says the split: folders train, val, test, a table's column, or a table of its own (.csv)",
        rich_help_panel=TABLES,
        autocompletion=lambda: ["folder"],
    ),
]
Debug = Annotated[bool, typer.Option("--debug", metavar="", help="show the traceback of an error")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="JSON on stdout, for scripts")]
NoPlugins = Annotated[bool, typer.Option("--no-plugins", metavar="", help="load the bundled components only")]
DisablePlugins = Annotated[
    list[str] | None,
    typer.Option("--disable-plugin", metavar="<name>", help="leave a plugin out; repeatable"),
]


def discover(*, no_plugins: bool, disable: Collection[str], warn: bool = True) -> Plugins:
    """The plugins that options and environment leave on; those that failed are named on stderr."""
    from clsfit.registry import Plugins

    disable = tuple(disable)
    standing: tuple[str, ...] = ()
    if "CLSFIT_DISABLE_PLUGINS" in os.environ or "CLSFIT_NO_PLUGINS" in os.environ:
        from clsfit.config import switches

        found = switches()
        standing = tuple(name for name in found.disable if name not in disable)
        disable, no_plugins = (*found.disable, *disable), no_plugins or found.bundled_only
    plugins = Plugins.discover(disable=disable, may_be_absent=standing, bundled_only=no_plugins)
    if warn:
        say_failed(plugins)
    return plugins


def say_failed(plugins: Plugins) -> None:
    """One line on stderr for each plugin that could not be loaded."""
    for line in plugins.warnings():
        print(f"clsfit: warning: {line}", file=sys.stderr)


def given_columns(**options: str | None) -> dict[str, str]:
    """Those of ``path_column``, ``label_column``, ``weight_column``, ``group`` and ``split_by`` that were given.

    Raises:
        ConfigError: one names nothing.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return {}
    from clsfit.config.settings import option_name, read_setting

    read = {name: read_setting(name, value, f"option {option_name(name)}") for name, value in given.items()}
    return {name: value for name, value in read.items() if value is not None}


@contextmanager
def kept() -> Iterator[None]:
    """Around the import of :mod:`clsfit.api`, and so of torch: nobody looks for garbage in what that makes.

    It is some hundred thousand objects, which stay until the process ends. Looking through them while they are
    made, now and then afterwards, and once more at the end takes half a second, and a whole one with what
    torchvision imports. Whatever is made later is collected as ever.
    """
    if "torch" in sys.modules:  # nothing is made: somebody calls the command line from a program of his own
        yield
        return
    running = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if running:
            gc.enable()


def load(model: str, device: str, threads: int | None) -> Model:
    """The model in a file or a run's folder; whether there is one is known before torch is imported."""
    from clsfit.storage import folds, modelfile

    if not folds.models(model):
        modelfile.resolve(model)
    with kept():
        from clsfit import api

    return api.load(model, device=device, threads=threads)


def bar(*, alone: bool) -> bool:
    """Whether to draw a progress bar: on a terminal on which nothing else is printed meanwhile."""
    return sys.stderr.isatty() and (alone or not sys.stdout.isatty())
