"""Commands whose options depend on the components that their own arguments select, as ``train``'s do."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clsfit.cli import common, options
from clsfit.cli.options import Option
from clsfit.cli.scan import Chosen, Scan
from clsfit.config.layers import SLOTS
from clsfit.config.settings import AUTO, COLUMNS, option_name, parameters
from clsfit.errors import printable
from clsfit.registry import REPEATABLE

if TYPE_CHECKING:
    from clsfit.config import Config
    from clsfit.parameters import Parameter
    from clsfit.registry import Plugins

Given = Mapping[Option, Any]
"""The options that were given, and what the command line says of each."""

_DATA = frozenset(
    {
        *("input_size", "channels", "resize", "mean", "std", "val_fraction"),
        *(
            "path_column",
            "label_column",
            "weight_column",
            "split_by",
            "group",
            "group_regex",
            "folds",
            "fold",
            "skip_bad",
            "cache",
        ),
    }
)
_SWITCHED = frozenset({"no_plugins", "disable_plugins"})
_COMPONENTS = {
    "model": "what maps pictures to classes",
    "loss": "what training makes small",
    "optimizer": "how the weights are changed",
    "scheduler": "how the learning rate goes",
    "metric": "what is measured; repeatable",
    "callback": "what else happens in a run; repeatable",
    "sampler": "the order of the pictures",
    "augment": "random changes of training pictures; repeatable",
}
_SETTINGS = frozenset(parameter.name for parameter in parameters())
_SHOWN = 10
_PROPOSED = {"device": ("auto", "cpu", "cuda", "mps"), "group": ("parent",), "split_by": ("ratio", "folder")}
"""Values that completion offers, of settings that may have others."""


@dataclass(frozen=True)
class Command:
    """A command that takes a whole configuration.

    Attributes:
        name: the command's.
        help: its help text.
        epilog: what stands below its options.
        own: its own options, which are no part of the configuration.
        do: what it does with the plugins, the options that were given, and DATA.
        group: the command that it is below; empty: none.
    """

    name: str
    help: str
    epilog: str
    own: Sequence[Option]
    do: Callable[[Plugins, Given, str | None], None]
    group: str = ""


def add(app: typer.Typer, command: Command, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the command with the options that ``arguments`` (those after its name) select.

    Returns:
        the arguments as Typer is to parse them.

    Raises:
        ClsfitError: a name, a file or an option in ``arguments`` means nothing; not with ``--help`` or when
            a shell asks for completions.
    """
    scan = Scan(arguments, tolerant=completing or bool({"--help", "-h"} & set(arguments)))
    plugins = scan.discover()
    if not completing:
        common.say_failed(plugins)
    scan.check_resumed(plugins)
    selected = [] if completing and _completes_a_plain_value(arguments) else scan.select(plugins)
    known = _options(plugins, scan, selected, command.own)
    if not scan.tolerant:
        options.check(
            arguments, known, plugins, [chosen.offer for chosen in selected], f"{command.group} {command.name}".strip()
        )

    def call(*, ctx: typer.Context, **values: Any) -> common.Job:
        given = {
            option: values[option.identifier]
            for option in known
            if getattr(ctx.get_parameter_source(option.identifier), "name", "") == "COMMANDLINE"
        }
        return lambda: command.do(plugins, given, values["data"])

    named, described = options.possible_names(arguments), not completing and scan.tolerant
    made = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter("data", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_data(plugins)),
        *(option.parameter(taken=described or option.is_in(named)) for option in known),
        inspect.Parameter("help_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_HELP),
    ]
    call.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in made}
    app.command(command.name, help=command.help, epilog=command.epilog, add_help_option=False)(call)
    return options.split_tuples(arguments, known)


def _completes_a_plain_value(arguments: Sequence[str]) -> bool:
    """Whether the last word is DATA, or the value of an option of ours: then nobody asks for a component's options."""
    *before, last = arguments or [""]
    return not last.startswith("-") and not (before and before[-1].startswith("--") and "." in before[-1])


def switch(name: str, panel: str, text: str) -> Option:
    """``--name``, without a value."""
    return Option((name,), ("--" + name.replace("_", "-"),), "", panel, text, shape="switch")


def quiet() -> Option:
    """``-q``."""
    return Option(("quiet",), ("-q", "--quiet"), "", "Run", "print errors and warnings only", shape="switch")


def debug() -> Option:
    """``--debug``."""
    return switch("debug", "Run", "show the traceback of an error")


def control(given: Given) -> dict[str, Any]:
    """What was given of options that are no part of the configuration, by name."""
    return {option.key[0]: value for option, value in given.items() if not _configures(option)}


def configuration(plugins: Plugins, given: Given, data: str | None) -> Config:
    """The configuration that recipes, files, environment and options make; its notes are said on stderr.

    Raises:
        ConfigError: an option, a file or a variable is wrong.
    """
    from clsfit.config import resolve

    others = control(given)
    config = resolve(
        plugins,
        recipe=others.get("recipe"),
        files=[Path(path) for path in others.get("config", ())],
        sets=others.get("set", ()),
        options=_tree({option: value for option, value in given.items() if _configures(option)}, data),
    )
    if any(getattr(config.settings, name) is not None for name in COLUMNS):
        from clsfit.opening import check_columns

        check_columns(config)
    if not others.get("quiet"):
        for note in config.notes:
            print(f"clsfit: {printable(note)}", file=sys.stderr)
    return config


def _configures(option: Option) -> bool:
    return option.key[0] in SLOTS or option.key[0] in _SETTINGS


def _show_help(ctx: typer.Context, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        print(ctx.get_help(), end="")  # with rich it prints by itself, and the text is empty
        raise typer.Exit


_HELP = Annotated[
    bool,
    typer.Option(
        "-h",
        "--help",
        metavar="",
        help="show this page",
        show_default=False,
        rich_help_panel="Run",
        is_eager=True,
        callback=_show_help,
    ),
]
"""Typer's own help option would come first, in a panel of its own."""


_FILES = (".csv", ".tsv", ".jsonl", ".zip", ".tar")
"""Endings that completion offers for DATA; .txt may be anything."""


def _data(plugins: Plugins) -> Any:
    names = [offer.name for offer in plugins.offers("dataset") if not offer.shadowed]
    added = plugins.endings()

    def complete(incomplete: str) -> list[str]:
        folder = incomplete.rpartition("/")[0]
        try:
            entries = [entry for entry in os.scandir(folder or ".") if not entry.name.startswith(".")]
            found = [e.name + "/" for e in entries if e.is_dir()]
            found += [e.name for e in entries if e.name.lower().endswith((*_FILES, *added)) and e.is_file()]
        except OSError:
            found = []
        paths = [f"{folder}/{name}" if folder else name for name in sorted(found)]
        return [text for text in [*names, *paths] if text.startswith(incomplete)]

    text = (
        "a folder with a folder of pictures per class, such a folder in an archive (.zip, .tar), "
        "a table of pictures (.csv, .jsonl), "
        + (f"a plugin's file ({', '.join(added)}), " if added else "")
        + "or a data set: "
        + ", ".join(names)
    )
    return Annotated[
        str | None,
        typer.Argument(metavar="DATA", help=options.escape(text), show_default=False, autocompletion=complete),
    ]


def _options(plugins: Plugins, scan: Scan, selected: Sequence[Chosen], own: Sequence[Option]) -> list[Option]:
    """All options, in the order in which help shows them."""
    made = [_slot(plugins, selected, slot) for slot in _COMPONENTS]
    for chosen in selected:
        made += scan.attempt(options.of_component, chosen.offer, chosen.name, chosen.given) or []
    settings = [_setting(parameter, scan.settings.get(parameter.name)) for parameter in parameters()]
    for panel in ("Data", "Training"):
        made += [option for option in settings if option.panel == panel]
    recipes = [(offer.name, options.escape(offer.component.help)) for offer in plugins.offers("recipe")]
    text = "a plugin's configuration to start from: " + ", ".join(name for name, _ in recipes)
    panel = "Configuration"
    return [
        *made,
        *(option for option in own if option.panel != panel),
        Option(("config",), ("-c", "--config"), "file", panel, "a YAML file; repeatable, later ones win", shape="many"),
        Option(("set",), ("--set",), "key=value", panel, "any key of the tree; repeatable", shape="many"),
        Option(("recipe",), ("--recipe",), "name", panel, text, complete=options.completer(recipes)),
        *(option for option in own if option.panel == panel),
        *(option for option in settings if option.panel == panel),
    ]


def _slot(plugins: Plugins, selected: Sequence[Chosen], slot: str) -> Option:
    """``--loss``, which selects a component."""
    offers = [(plugins.short_name(offer), options.escape(offer.component.help)) for offer in plugins.offers(slot)]
    none = [("none", "forget those that a recipe or a file selects")] if slot in REPEATABLE else []
    more = f", ... {len(offers)} in all" if len(offers) > _SHOWN else ""
    names = ", ".join(name for name, _ in offers[:_SHOWN]) + more
    chosen = [chosen.name for chosen in selected if chosen.offer.kind == slot]
    return Option(
        (slot,),
        (f"--{slot}",),
        "name",
        "Components",
        f"{_COMPONENTS[slot]}: {names}",
        ", ".join(chosen) or "none",
        "many" if slot in REPEATABLE else "value",
        options.completer([*offers, *none]),
        default_is="selected",
    )


def _setting(parameter: Parameter, given: str | None) -> Option:
    """The option of a core setting; ``given`` is what a recipe or a file sets it to."""
    name = parameter.name
    panel = "Data" if name in _DATA else "Configuration" if name in _SWITCHED else "Training"
    option = options.from_parameter(parameter, (name,), (option_name(name),), panel)
    if name == "disable_plugins":
        option = replace(option, shape="many", label="name", default=None, help=f"{option.help}; repeatable")
    elif name == "no_plugins":
        option = replace(option, shape="switch", default=None)
    else:
        if name in {"device", "input_size"}:  # their help says more than their types
            option = replace(option, label="")
        if name in _PROPOSED:
            option = replace(option, complete=options.completer((value, "") for value in _PROPOSED[name]))
        option = replace(option, default=given or option.default or ("auto" if name in AUTO else None))
    return option


def _tree(given: Mapping[Option, Any], data: str | None) -> dict[str, Any]:
    """The options as a configuration's tree; values stay texts, which the configuration reads by type."""
    tree: dict[str, Any] = {} if data is None else {"data": data}
    for option, value in given.items():
        slot, *below = option.key
        text = ",".join(value) if isinstance(option.shape, int) else value
        if slot in REPEATABLE:
            entries = tree.setdefault(slot, [])
            if not below:
                entries.extend(value)
            else:
                entries.append({below[0]: {below[1]: text}})
        elif slot not in SLOTS:
            tree[slot] = text
        elif below:
            entry = tree.get(slot, {})
            tree[slot] = {**(entry if isinstance(entry, dict) else {"name": entry}), below[0]: text}
        else:
            tree[slot] = text
    return tree
