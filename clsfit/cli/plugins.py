"""``clsfit plugins``: what is installed, and what a component's options are."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clsfit.cli import common, pages, tables
from clsfit.endings import OWN
from clsfit.errors import ConfigError, PluginError, printable
from clsfit.hookspecs import OFFERS

if TYPE_CHECKING:
    from clsfit.registry import Offer, Plugin, Plugins

EPILOG = """\
[bold]Examples[/]

  clsfit plugins list
  clsfit plugins list --kind loss
  clsfit plugins show focal

A component is selected by its name: clsfit train --loss focal"""

Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="<kind>", help="one of " + " ".join(OFFERS), autocompletion=lambda: list(OFFERS)),
]


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the commands ``list`` and ``show``."""
    group = typer.Typer(cls=pages.Group, help=help_text, epilog=EPILOG)
    group.command("list", cls=pages.Command, help="Every plugin and what it offers.", epilog=EPILOG)(list_)
    group.command("show", cls=pages.Command, help="A component's options, with types and defaults.", epilog=EPILOG)(
        show
    )
    app.add_typer(group, name="plugins")


def list_(
    kind: Kind = None,
    as_json: common.Json = False,
    no_plugins: common.NoPlugins = False,
    disable_plugin: common.DisablePlugins = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        _check_kind(kind)
        plugins = common.discover(no_plugins=no_plugins, disable=disable_plugin or ())
        if as_json:
            tables.put(tables.json_text([_plugin_json(plugin, kind) for plugin in plugins.plugins], indent=2))
        else:
            tables.put("\n".join(_listing(plugins, kind)))

    return job


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="a component, or provider:component",
            show_default=False,
            autocompletion=lambda: _component_names(),
        ),
    ],
    kind: Kind = None,
    no_plugins: common.NoPlugins = False,
    disable_plugin: common.DisablePlugins = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        _check_kind(kind)
        plugins = common.discover(no_plugins=no_plugins, disable=disable_plugin or ())
        offers = _called(plugins, name, kind)
        tables.put("\n\n".join("\n".join(_description(plugins, offer)) for offer in offers))

    return job


def _check_kind(kind: str | None) -> None:
    from clsfit.registry import nearest

    if kind is not None and kind not in OFFERS:
        raise ConfigError(
            f"no such kind: {printable(kind)!r}", "--kind", nearest(kind, OFFERS) or "choose from: " + " ".join(OFFERS)
        )


def _plugin_json(plugin: Plugin, kind: str | None) -> dict[str, Any]:
    components = [
        {"kind": o.kind, "name": o.name, "help": o.component.help, "shadowed": o.shadowed}
        for o in plugin.offers
        if kind in {None, o.kind}
    ]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "error": plugin.error,
        "components": components,
    }


def _listing(plugins: Plugins, kind: str | None) -> Iterator[str]:
    """A line per plugin, then a line per component under its kind."""
    rows = [(p.name, p.distribution, p.version, p.status, p.error) for p in plugins.plugins]
    yield from _columns([("PLUGIN", "DISTRIBUTION", "VERSION", "STATUS", ""), *rows])
    offered = [offer for each in OFFERS if kind in {None, each} for offer in plugins.offers(each)]
    if not offered:
        return
    bundled = all(offer.distribution == "clsfit" for offer in offered)
    lines = [("KIND", "NAME", "" if bundled else "FROM", "")]
    previous = ""
    for offer in offered:
        name = plugins.short_name(offer)
        provider = "" if bundled else offer.distribution
        lines.append((offer.kind if offer.kind != previous else "", name, provider, offer.component.help))
        previous = offer.kind
    yield ""
    yield from _columns(lines)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as aligned text; on a terminal, the last column is wrapped at its edge."""
    clean = [[printable(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    indent = sum(width + 2 for width in widths[:-1] if width)
    room = shutil.get_terminal_size().columns - indent - 2 if sys.stdout.isatty() else sys.maxsize
    for *cells, last in clean:
        start = "".join(f"{text:<{width}}  " for text, width in zip(cells, widths, strict=False) if width)
        first, *more = textwrap.wrap(last, max(room, 20)) or [""]
        yield (start + first).rstrip()
        yield from (" " * indent + line for line in more)


def _component_names() -> list[str]:
    plugins = common.discover(no_plugins=False, disable=(), warn=False)
    return sorted({plugins.short_name(offer) for kind in OFFERS for offer in plugins.offers(kind)})


def _called(plugins: Plugins, name: str, kind: str | None) -> list[Offer]:
    """All components of that name; kinds have their own names, so there may be several.

    Raises:
        ConfigError, PluginError: there is none.
    """
    from clsfit.registry import nearest

    found: list[Offer] = []
    failures: list[PluginError] = []
    for each in [kind] if kind else OFFERS:
        if ":" not in name:
            found += [offer for offer in plugins.offers(each) if offer.name == name]
            continue
        try:
            found.append(plugins.find(each, name))
        except ConfigError:
            continue
        except PluginError as error:
            failures.append(error)
    if found:
        return found
    if failures:
        raise failures[0]
    if kind:
        plugins.find(kind, name)
    names = [plugins.short_name(offer) for each in OFFERS for offer in plugins.offers(each)]
    raise ConfigError(
        f"no component is called {printable(name)!r}",
        "; ".join(plugins.warnings()),
        nearest(name, names) or "see: clsfit plugins list",
    )


def _description(plugins: Plugins, offer: Offer) -> Iterator[str]:
    """What ``plugins show`` says of one component."""
    from clsfit.cli import options

    component = offer.component
    yield printable(f"{offer.kind} {plugins.short_name(offer)}: {component.help}")
    yield printable(f"  from   {offer.distribution} {offer.version}, plugin {offer.plugin}")
    yield printable(f"  code   {component.target}")
    if opened := [ending for ending in component.endings if not ending.endswith(OWN)]:
        yield f"  opens  {', '.join(opened)}"
    if component.paper:
        yield printable(f"  paper  {component.paper}")
    if offer.shadowed:
        yield printable(f"  shadowed by the bundled {offer.kind} of this name; write {offer.qualified}")
    if offer.kind == "recipe":
        yield ""
        yield from textwrap.indent(offer.resource().rstrip(), "  ").splitlines()
        return
    given = options.of_component(offer, plugins.short_name(offer))
    if not given:
        yield "  no options"
        return
    yield ""
    yield from ("  " + line for line in _columns([option.row() for option in given]))
