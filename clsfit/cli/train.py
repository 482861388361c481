"""``clsfit train``, whose options depend on the components that its own arguments select."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clsfit.cli import common, options, tables
from clsfit.cli.options import Option
from clsfit.cli.scan import Chosen, Scan
from clsfit.config.layers import SLOTS
from clsfit.config.settings import AUTO, option_name, parameters
from clsfit.errors import ConfigError, printable
from clsfit.registry import REPEATABLE

if TYPE_CHECKING:
    from clsfit.parameters import Parameter
    from clsfit.registry import Plugins

EPILOG = """\
[bold]Examples[/]

  clsfit train                            [dim]a first run, on built-in digits[/]
  clsfit train photos/ --model resnet18 --loss focal --loss.gamma 3
  clsfit train photos/ --metric.f1.average micro --callback early_stop
  clsfit train -c base.yaml --set loss.gamma=1 -o runs/long --resume
  clsfit train photos/ --loss focal --print-config > focal.yaml

A component's options show when it is selected: try --loss focal --help.
All components: clsfit plugins list. Names take - or _; "none" is no value.
Later wins: recipe, -c, environment (CLSFIT_LOSS__GAMMA=3), --set, options."""

_DATA = frozenset(
    {"input_size", "channels", "resize", "mean", "std", "val_fraction", "group", "group_regex", "skip_bad", "cache"}
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
_SWITCHES = {
    "resume": "go on with the run in DIR; start one if there is none",
    "overwrite": "replace the run in DIR",
    "accept_changes": "resume although options, data or plugins have changed",
    "dry_run": "do everything but train",
    "print_config": "print a YAML file that gives the same run, and stop",
    "debug": "show the traceback of an error",
}
_CONTROL = frozenset({"recipe", "config", "set", "output", "quiet", "verbose", *_SWITCHES})
_SHOWN = 10
_DEVICES = ("auto", "cpu", "cuda", "mps")


def add(app: typer.Typer, help_text: str, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the command with the options that ``arguments`` (those after ``train``) select.

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
    known = _options(plugins, scan, selected)
    if not scan.tolerant:
        options.check(arguments, known, plugins, [chosen.offer for chosen in selected])

    def train(*, ctx: typer.Context, **values: Any) -> common.Job:
        given = {
            option: values[option.identifier]
            for option in known
            if getattr(ctx.get_parameter_source(option.identifier), "name", "") == "COMMANDLINE"
        }
        return lambda: _train(plugins, given, values["data"])

    named, described = options.possible_names(arguments), not completing and scan.tolerant
    made = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter("data", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_data(plugins)),
        *(option.parameter(taken=described or option.is_in(named)) for option in known),
        inspect.Parameter("help_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_HELP),
    ]
    train.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    train.__annotations__ = {parameter.name: parameter.annotation for parameter in made}
    app.command("train", help=help_text, epilog=EPILOG, add_help_option=False)(train)
    return options.split_tuples(arguments, known)


def _completes_a_plain_value(arguments: Sequence[str]) -> bool:
    """Whether the last word is DATA, or the value of an option of ours: then nobody asks for a component's options."""
    *before, last = arguments or [""]
    return not last.startswith("-") and not (before and before[-1].startswith("--") and "." in before[-1])


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


def _data(plugins: Plugins) -> Any:
    names = [offer.name for offer in plugins.offers("dataset") if not offer.shadowed]

    def complete(incomplete: str) -> list[str]:
        folder = incomplete.rpartition("/")[0]
        try:
            entries = [entry for entry in os.scandir(folder or ".") if not entry.name.startswith(".")]
            found = [e.name + "/" for e in entries if e.is_dir()]
            found += [e.name for e in entries if e.name.lower().endswith((".csv", ".tsv")) and e.is_file()]
        except OSError:
            found = []
        paths = [f"{folder}/{name}" if folder else name for name in sorted(found)]
        return [text for text in [*names, *paths] if text.startswith(incomplete)]

    text = "a folder with a folder of pictures per class, a table of pictures (.csv), or a data set: " + ", ".join(
        names
    )
    return Annotated[
        str | None,
        typer.Argument(metavar="DATA", help=options.escape(text), show_default=False, autocompletion=complete),
    ]


def _options(plugins: Plugins, scan: Scan, selected: Sequence[Chosen]) -> list[Option]:
    """All options, in the order in which help shows them."""
    made = [_slot(plugins, selected, slot) for slot in _COMPONENTS]
    for chosen in selected:
        made += scan.attempt(options.of_component, chosen.offer, chosen.name, chosen.given) or []
    settings = [_setting(parameter, scan.settings.get(parameter.name)) for parameter in parameters()]
    for panel in ("Data", "Training"):
        made += [option for option in settings if option.panel == panel]
    recipes = [(offer.name, options.escape(offer.component.help)) for offer in plugins.offers("recipe")]
    text = "a plugin's configuration to start from: " + ", ".join(name for name, _ in recipes)
    return [
        *made,
        Option(("output",), ("-o", "--output"), "dir", "Run", "the run's folder; without it runs/<data>-<model>"),
        *(_switch(name, "Run") for name in ("resume", "overwrite", "accept_changes", "dry_run")),
        Option(("quiet",), ("-q", "--quiet"), "", "Run", "print errors and warnings only", shape="switch"),
        Option(("verbose",), ("-v", "--verbose"), "", "Run", "print more", shape="switch"),
        _switch("debug", "Run"),
        Option(
            ("config",),
            ("-c", "--config"),
            "file",
            "Configuration",
            "a YAML file; repeatable, later ones win",
            shape="many",
        ),
        Option(("set",), ("--set",), "key=value", "Configuration", "any key of the tree; repeatable", shape="many"),
        Option(("recipe",), ("--recipe",), "name", "Configuration", text, complete=options.completer(recipes)),
        _switch("print_config", "Configuration"),
        *(option for option in settings if option.panel == "Configuration"),
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
            option = replace(
                option, label="", complete=options.completer((d, "") for d in _DEVICES if name == "device")
            )
        option = replace(option, default=given or option.default or ("auto" if name in AUTO else None))
    return option


def _switch(name: str, panel: str) -> Option:
    return Option((name,), ("--" + name.replace("_", "-"),), "", panel, _SWITCHES[name], shape="switch")


def _train(plugins: Plugins, given: Mapping[Option, Any], data: str | None) -> None:
    """Does what the parsed options say."""
    from clsfit.config import resolve

    control = {option.key[0]: value for option, value in given.items() if option.key[0] in _CONTROL}
    tree = _tree({option: value for option, value in given.items() if option.key[0] not in _CONTROL}, data)
    config = resolve(
        plugins,
        recipe=control.get("recipe"),
        files=[Path(path) for path in control.get("config", ())],
        sets=control.get("set", ()),
        options=tree,
    )
    quiet, verbose = control.get("quiet", False), control.get("verbose", False)
    if not quiet:
        for note in config.notes:
            print(f"clsfit: {printable(note)}", file=sys.stderr)
    if control.get("print_config"):
        tables.put(config.to_yaml().rstrip("\n"))
        return
    _check_control(control)

    from clsfit import api

    run = api.train_config(
        config,
        plugins,
        api.Control(
            output=Path(control["output"]) if "output" in control else None,
            **{name: bool(control.get(name)) for name in ("resume", "overwrite", "accept_changes", "dry_run")},
            verbosity=0 if quiet else 2 if verbose else 1,
        ),
    )
    if not control.get("dry_run"):
        tables.put(str(run.directory))


def _check_control(control: Mapping[str, Any]) -> None:
    """Refuses switches that contradict each other, and those that would do nothing."""
    if control.get("resume") and control.get("overwrite"):
        raise ConfigError("--resume goes on with a run and --overwrite replaces it", "", "give one of them")
    if control.get("accept_changes") and not control.get("resume"):
        raise ConfigError("--accept-changes has no effect without --resume", "", "add --resume, or leave it out")
    if control.get("quiet") and control.get("verbose"):
        raise ConfigError("--quiet and --verbose contradict each other", "", "give one of them")
    if (world := os.environ.get("WORLD_SIZE", "1")) not in {"", "0", "1"}:  # each would train, into one folder
        raise ConfigError(
            "clsfit trains in one process, and a launcher has started several",
            f"environment WORLD_SIZE is {printable(world)}",
            "start it without the launcher (torchrun)",
        )
    if control.get("output") == "":
        raise ConfigError("-o names no folder: it is empty", "", "name one, or leave -o out")


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
