"""``clsfit config``: about configuration files."""

from __future__ import annotations

import typer

from clsfit.cli import common, pages, tables

EPILOG = """\
[bold]Examples[/]

  clsfit config schema > clsfit.schema.json

Editors check and complete YAML by it. The tree of a run: clsfit train --print-config"""


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the command ``schema``."""
    group = typer.Typer(cls=pages.Group, help=help_text, epilog=EPILOG)

    @group.callback()
    def config() -> None:
        """A callback keeps ``schema`` a command of its own while it is the only one."""

    group.command("schema", cls=pages.Command, help="The JSON Schema of configuration files.", epilog=EPILOG)(schema)
    app.add_typer(group, name="config", help=help_text)


def schema(
    no_plugins: common.NoPlugins = False,
    disable_plugin: common.DisablePlugins = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        from clsfit.config import json_schema

        plugins = common.discover(no_plugins=no_plugins, disable=disable_plugin or ())
        tables.put(tables.json_text(json_schema(plugins), indent=2))

    return job
