"""The Typer application, with only the command in it that the arguments ask for.

Every other command is there by name and help text alone: enough for ``clsfit --help`` and for "did
you mean", and nothing of it has to be imported.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer

from clsfit.cli import pages
from clsfit.cli.common import Job
from clsfit.errors import ConfigError, printable

COMMANDS = {
    "train": "Train a classifier on pictures.",
    "evaluate": "Score a trained model on labelled pictures.",
    "predict": "Apply a trained model to pictures.",
    "data": "Check, split and look at labelled pictures.",
    "bench": "Find where a training run's time goes.",
    "import": "Turn foreign weights into a safetensors file.",
    "plugins": "List plugins, and show a component's options.",
    "config": "The JSON Schema of configuration files.",
}
GROUPS = ("data", "plugins", "config")
DYNAMIC = ("train", "data", "bench")
"""Commands whose options depend on their own arguments, or those of a command below them."""
COMPLETE = "_CLSFIT_COMPLETE"
"""Set by the shell's completion function, with ``_TYPER_COMPLETE_ARGS`` or ``COMP_WORDS``."""

HELP = """\
Train, judge and apply image classifiers.

Every loss, optimizer, metric, model ... is a plugin from pip: clsfit plugins list"""

EPILOG = """\
[bold]Examples[/]

  clsfit train                            [dim]a first run, on built-in digits[/]
  clsfit train photos/ --model resnet18 --loss focal
  clsfit evaluate runs/photos-resnet18
  clsfit predict runs/photos-resnet18 new/*.jpg -o predictions.csv

Every command has a page of its own: clsfit train --help"""


def parse(arguments: Sequence[str]) -> Job | int:
    """What to do for ``arguments``, or the exit code if it was done by parsing: help, completion.

    Raises:
        ConfigError: wrong usage.
        SystemExit: after shell completion.
    """
    completing = COMPLETE in os.environ
    words = completion_words() if completing else list(arguments)
    asked = next((word for word in words if word and not word.startswith("-")), "")
    if not completing and (not words or (len(words) == 1 and asked in GROUPS)):
        words.append("--help")
    if completing:
        os.environ["COLUMNS"] = "1000"  # Typer lays help texts out for a terminal; a completion is one line
    app = _build(asked, words, completing)
    hook = sys.excepthook
    try:
        result: Any = app(args=words, prog_name="clsfit", standalone_mode=False)
    except typer.TyperException as error:
        raise _usage_error(error, asked if asked in COMMANDS else "") from error
    except SystemExit as error:
        if completing or not error.code:
            raise
        raise BrokenPipeError from error  # Typer and rich end so when nobody reads the help
    except typer.Abort:
        raise KeyboardInterrupt from None
    finally:
        sys.excepthook = hook  # Typer installs its own
    return result if callable(result) or isinstance(result, int) else 0


def _build(asked: str, words: list[str], completing: bool) -> typer.Typer:
    # An option that is not given still makes Typer import pydantic, so the program's own are there for itself only.
    own = words[:1] != [asked]
    app = typer.Typer(
        cls=pages.Group,
        help=HELP,
        epilog=EPILOG,
        add_completion=completing or own,
        context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": with_hyphens},
    )
    app.callback(add_help_option=own)(_root)
    for name, help_text in COMMANDS.items():
        if name != asked:
            app.command(name, help=help_text)(_absent)
            continue
        module = import_module(f"clsfit.cli.{name}" + "_" * iskeyword(name))
        if name in DYNAMIC:
            after = words.index(name) + 1
            words[after:] = module.add(app, help_text, words[after:], completing)
        else:
            module.add(app, help_text)
    return app


def _absent() -> None:
    """Stands for a command that was not asked for."""


def _print_version(asked: bool) -> None:
    if asked:
        from clsfit import __version__

        typer.echo(f"clsfit {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    pass


def with_hyphens(name: str) -> str:
    """An option's name as it is compared: ``--batch_size`` means ``--batch-size``."""
    return name.replace("_", "-")


def completion_words() -> list[str]:
    """The words on the line that a shell wants completed, without the program's name; the last may be empty."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # an open quote
        return line.split()[1:]
    return [*words, ""] if line.endswith(" ") else words


def _usage_error(error: typer.TyperException, asked: str) -> ConfigError:
    """Typer's complaint in our form: what, and the nearest option or where to read more."""
    text = printable(" ".join(error.format_message().replace("Value error, ", "").split())).rstrip(".")
    text = text.replace("Input should", "it should")
    text, _, near = text.partition(" (Possible options: ")
    text, _, command = text.partition(". Did you mean ")
    page = getattr(getattr(error, "ctx", None), "command_path", "") or f"clsfit {asked}".rstrip()
    hint = f"see: {page} --help"
    if near or command:
        hint = f"Did you mean {near.rstrip(')').split(', ')[0] or command.rstrip('?')}?"
    elif text.startswith("Got unexpected extra argument") and text.endswith(("(true)", "(false)")):
        hint = "a switch takes no value: --NAME or --no-NAME"
    return ConfigError(text[:1].lower() + text[1:], "", hint)
