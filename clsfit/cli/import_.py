"""``clsfit import``: foreign weights as a safetensors file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clsfit.cli import common, pages
from clsfit.errors import ConfigError, printable
from clsfit.interrupts import held

EPILOG = """\
[bold]Examples[/]

  clsfit import resnet18.pth resnet18.safetensors
  clsfit train photos/ --model resnet18 --model.weights resnet18.safetensors
  clsfit import checkpoint.pt weights.safetensors --overwrite

Pickled files (.pt, .pth, .bin) can run code when they are read. clsfit reads them here only,
and only where they hold nothing but containers and tensors."""


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the command."""
    app.command("import", cls=pages.Command, help=help_text, epilog=EPILOG)(import_)


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="weights: .pt, .pth, .bin or .safetensors", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="write here: .safetensors", show_default=False)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="replace OUT where there is one already")
    ] = False,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        if output.suffix != ".safetensors":
            raise ConfigError(
                f"{printable(str(output))} does not end in .safetensors",
                "argument OUT",
                f"write to {printable(str(output.with_suffix('.safetensors')))}",
            )
        if output.exists() and not overwrite:
            raise ConfigError(
                f"{printable(str(output))} is there already", "argument OUT", "give --overwrite to replace it"
            )
        with held():  # torch is imported
            from clsfit.engine.state import to_blob
            from clsfit.foreign import read
        from clsfit.storage.durable import write_file

        tensors = read(file, lambda line: print(line, file=sys.stderr))
        write_file(output, to_blob(tensors), failpoint="import")
        numbers = sum(tensor.numel() for tensor in tensors.values())
        print(f"{len(tensors):,} tensors, {numbers:,} numbers", file=sys.stderr)
        print(printable(str(output)))

    return job
