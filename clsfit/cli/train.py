"""``clsfit train``, whose options depend on the components that its own arguments select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsfit.cli import common, dynamic, tables
from clsfit.cli.options import Option
from clsfit.distributed import launch
from clsfit.errors import ConfigError

if TYPE_CHECKING:
    import typer

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

_SWITCHES = {
    "resume": "go on with the run in DIR; start one if there is none",
    "overwrite": "replace the run in DIR",
    "accept_changes": "resume although options, data or plugins have changed",
    "dry_run": "do everything but train",
    "strict": "refuse data that would only be warned of: pictures in two splits",
}


def add(app: typer.Typer, help_text: str, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the command; see :func:`clsfit.cli.dynamic.add`."""
    launch.quiet()  # reading the options of a component without ``params`` may import torch
    return dynamic.add(app, dynamic.Command("train", help_text, EPILOG, _own(), _train), arguments, completing)


def _own() -> list[Option]:
    text = "the run's folder; without it runs/<data>-<model>"
    return [
        Option(("output",), ("-o", "--output"), "dir", "Run", text),
        *(dynamic.switch(name, "Run", _SWITCHES[name]) for name in _SWITCHES),
        dynamic.quiet(),
        Option(("verbose",), ("-v", "--verbose"), "", "Run", "print more", shape="switch"),
        dynamic.debug(),
        dynamic.switch("print_config", "Configuration", "print a YAML file that gives the same run, and stop"),
    ]


def _train(plugins: Plugins, given: dynamic.Given, data: str | None) -> None:
    """Does what the parsed options say."""
    config, control = dynamic.configuration(plugins, given, data), dynamic.control(given)
    place = launch.place()
    speaks = place is None or place.rank == 0  # for all ranks, on standard output
    if control.get("print_config"):
        if speaks:
            tables.put(config.to_yaml().rstrip("\n"))
        return
    _check_control(control)

    with common.kept():
        from clsfit import api

    quiet, verbose = control.get("quiet", False), control.get("verbose", False)
    run = api.train_wanted(
        config,
        plugins,
        api.Control(
            output=Path(control["output"]) if "output" in control else None,
            **{name: bool(control.get(name)) for name in _SWITCHES},
            verbosity=0 if quiet else 2 if verbose else 1,
        ),
    )
    if speaks and not control.get("dry_run"):
        tables.put(str(run.directory))


def _check_control(control: Mapping[str, Any]) -> None:
    """Refuses switches that contradict each other, and those that would do nothing."""
    if control.get("resume") and control.get("overwrite"):
        raise ConfigError("--resume goes on with a run and --overwrite replaces it", "", "give one of them")
    if control.get("accept_changes") and not control.get("resume"):
        raise ConfigError("--accept-changes has no effect without --resume", "", "add --resume, or leave it out")
    if control.get("quiet") and control.get("verbose"):
        raise ConfigError("--quiet and --verbose contradict each other", "", "give one of them")
    if control.get("output") == "":
        raise ConfigError("-o names no folder: it is empty", "", "name one, or leave -o out")
