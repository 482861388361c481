"""``clsfit bench``: where the time of a training run goes. It takes the options of ``train``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clsfit.cli import common, dynamic, tables
from clsfit.cli.options import Option
from clsfit.errors import ConfigError, printable

if TYPE_CHECKING:
    import typer

    from clsfit.api import Benchmark
    from clsfit.registry import Plugins
    from clsfit.timing.results import Pace

EPILOG = """\
[bold]Examples[/]

  clsfit bench                            [dim]on built-in digits[/]
  clsfit bench photos/ --model resnet18 --batch-size 64
  clsfit bench photos/ -c base.yaml --cache off --json > bench.json

Nothing is trained for good, and no file is left behind. Large data sets
are measured on a part that is decoded in about as many seconds as asked for."""

_SECONDS = 3.0


def add(app: typer.Typer, help_text: str, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the command; see :func:`clsfit.cli.dynamic.add`."""
    return dynamic.add(app, dynamic.Command("bench", help_text, EPILOG, _own(), _bench), arguments, completing)


def _own() -> list[Option]:
    text = "how long each measurement takes"
    return [
        Option(("seconds",), ("--seconds",), "float", "Run", text, f"{_SECONDS:g}", bounds="> 0"),
        dynamic.switch("json", "Run", "one JSON object on stdout"),
        dynamic.quiet(),
        dynamic.debug(),
    ]


def _bench(plugins: Plugins, given: dynamic.Given, data: str | None) -> None:
    """Does what the parsed options say."""
    config, control = dynamic.configuration(plugins, given, data), dynamic.control(given)
    seconds = _read_seconds(control.get("seconds", str(_SECONDS)))

    with common.kept():
        from clsfit import api

    def say(line: str) -> None:
        if not control.get("quiet"):
            print(f"clsfit: {printable(line)}", file=sys.stderr)

    found = api.bench_config(config, seconds, say)
    tables.put(tables.json_text(found.to_json()) if control.get("json") else "\n".join(report(found)))


def _read_seconds(text: str) -> float:
    from clsfit.timing.meter import check_seconds

    try:
        return check_seconds(float(text))
    except ValueError:
        raise ConfigError(
            f"not a number of seconds: {printable(text)!r}", "option --seconds", "give 3, or 0.5"
        ) from None


def report(found: Benchmark) -> Iterator[str]:
    """The figures for people, line by line."""
    s = found.setting
    size, colour = "x".join(map(str, s["input_size"])), "grey" if s["channels"] == 1 else "colour"
    part = "" if s["measured_pictures"] == s["pictures"] else f" ({s['measured_pictures']:,} of them measured)"
    yield f"data     {s['pictures']:,} pictures{part}, {size} {colour}"
    yield f"run      {s['model']}, batch {s['batch_size']}, {s['device']}, {s['precision']}, step {s['step']}"
    yield f"machine  {s['cores']} cores: threads {s['threads']}, workers {s['workers']}"
    yield ""
    yield f"{'pictures/s':<28}{'median':>12}{'slowest':>12}{'fastest':>12}"
    for name, tier in found.tiers.items():
        if tier.later_epochs is not None and tier.first_epoch is not None:
            yield _line(f"data: {name}{' (chosen)' if tier.chosen else ''}", tier.later_epochs)
            yield f"{'  its first epoch':<28}{tier.first_epoch:>12,.0f}"
    yield _line("step alone", found.step)
    yield _line("whole", found.whole)
    if found.ceiling is not None:
        yield _line("hand-written loop", found.ceiling)
        for trial in found.trials:
            yield _line(f"  with {trial.change}", trial.pace)
    yield ""
    yield f"waiting for pictures: {found.waiting:.0%} of the training time"
    yield from (f"not {name}: {tier.why}" for name, tier in found.tiers.items() if not tier.possible)
    if found.ceiling is None:
        yield f"hand-written loop: {found.ceiling_is}"
    if not found.steady:
        yield "unsteady: the slowest and the fastest differ by more than half, as where other programs run"
        yield "  measure again while nothing else runs, or with more --seconds"
    for advice in found.advice:
        yield f"change {advice.change}" if advice.change == "nothing" else f"change: {advice.change}"
        yield f"  {advice.why}"


def _line(name: str, pace: Pace) -> str:
    return f"{name:<28}{pace.rate:>12,.0f}{pace.low:>12,.0f}{pace.high:>12,.0f}"
