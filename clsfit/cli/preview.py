"""``clsfit data preview``: what the model sees. It takes the options of ``train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clsfit.cli import common, dynamic, tables
from clsfit.cli.options import Option
from clsfit.errors import ConfigError, printable

if TYPE_CHECKING:
    import typer

    from clsfit.registry import Plugins

EPILOG = """\
[bold]Examples[/]

  clsfit data preview photos/ -o seen.png
  clsfit data preview photos/ -o seen.png --augment rotate --augment cutmix
  clsfit data preview photos/ -o seen.png -c base.yaml --pictures 16

These are pictures of the first epoch that train with the same options has."""

_PICTURES = 8
_CLASSES = 50  # rows of a sheet that can still be looked at


def add(app: typer.Typer, help_text: str, arguments: Sequence[str], completing: bool) -> list[str]:
    """Registers the command; see :func:`clsfit.cli.dynamic.add`."""
    return dynamic.add(
        app, dynamic.Command("preview", help_text, EPILOG, _own(), _preview, "data"), arguments, completing
    )


def _own() -> list[Option]:
    return [
        Option(("output",), ("-o", "--output"), "file", "Run", "write here: .png"),
        Option(("pictures",), ("--pictures",), "int", "Run", "pictures of each class", f"{_PICTURES}", bounds=">= 1"),
        dynamic.quiet(),
        dynamic.debug(),
    ]


def _preview(plugins: Plugins, given: dynamic.Given, data: str | None) -> None:
    """Does what the parsed options say."""
    config, control = dynamic.configuration(plugins, given, data), dynamic.control(given)
    count = _count(control.get("pictures", str(_PICTURES)))
    output = _output(control.get("output", ""))
    if config.data_path is not None:
        tables.keep_out(output, config.data_path, "-o")

    def say(line: str) -> None:
        if not control.get("quiet"):
            print(f"clsfit: {printable(line)}", file=sys.stderr)

    with common.kept():
        from clsfit.preview import preview_config
    from clsfit.data.sheet import sheet

    seen = preview_config(config, count, say)
    shown = dict(list(seen.items())[:_CLASSES])
    if len(shown) < len(seen):
        say(f"note: the first {len(shown)} of {len(seen):,} classes are drawn")
    tables.put_all(output, [sheet(shown)], failpoint="sheet")
    print(printable(str(output)))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= 1000:
        raise ConfigError(f"not a number of pictures: {printable(text)!r}", "option --pictures", "give 1 to 1000")
    return int(text)


def _output(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".png":
        what = f"{printable(text)} does not end in .png" if text else "there is no file to write"
        raise ConfigError(what, "option -o", "name a file that ends in .png")
    tables.check_place(path, "-o")
    return path
