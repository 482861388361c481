"""``clsfit predict``: a row for every picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsfit.cli import common, pages, tables
from clsfit.errors import DataError, printable

if TYPE_CHECKING:
    from clsfit.api import Prediction

EPILOG = """\
[bold]Examples[/]

  clsfit predict runs/digits-small_cnn new/*.png
  clsfit predict runs/photos-resnet18 holiday/ -o holiday.csv --top-k 3
  find . -name '*.jpg' | clsfit predict best.safetensors - -o found.jsonl

An unreadable picture is a row with an 'error', and exit code 3 at the end."""


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the command."""
    app.command("predict", cls=pages.Command, help=help_text, epilog=EPILOG)(predict)


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a run's folder, or a model file", show_default=False)],
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES", help="files and folders; - reads paths from stdin, one a line", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="<file>", help="write here instead of stdout (-): .csv or .jsonl"),
    ] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="<n>", min=1, help="also the next best classes, n in all")
    ] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", metavar="", help="also one column p(CLASS) per class")
    ] = False,
    batch_size: common.BatchSize = None,
    device: common.Device = "auto",
    workers: common.Workers = None,
    threads: common.Threads = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        file = None if str(output) == "-" else output
        if file is not None:
            tables.format_of(file, "-o")
        loaded = common.load(model, device, threads)
        shown = min(top_k, len(loaded.class_names))
        failed: list[str] = []
        predictions = loaded.predict(
            _paths(pictures),
            batch_size=batch_size,
            workers=workers,
            progress=common.bar(alone=file is not None),
        )
        columns = ["path", "predicted", "probability", "error"]
        columns += [f"{name}_{rank}" for rank in range(2, shown + 1) for name in ("predicted", "probability")]
        columns += [f"p({name})" for name in loaded.class_names] if probabilities else []
        rows = _rows(predictions, shown, len(loaded.class_names) if probabilities else 0, failed)
        tables.write(file, columns, rows, option="-o")
        if failed:
            raise DataError(
                f"{len(failed)} of the pictures could not be read",
                ", ".join(printable(path) for path in failed[:3]) + (", ..." if len(failed) > 3 else ""),
                "their rows carry the reason under 'error'",
            )

    return job


def _rows(
    predictions: Iterable[Prediction], shown: int, classes: int, failed: list[str]
) -> Iterator[list[str | float | None]]:
    for prediction in predictions:
        row: list[str | float | None] = [
            prediction.path,
            prediction.predicted or None,
            prediction.probability,
            prediction.error or None,
        ]
        if prediction.error:
            failed.append(prediction.path)
            row += [None] * (2 * (shown - 1) + classes)
        else:
            for name, probability in islice(prediction.ranked, 1, shown):
                row += [name, probability]
            row += prediction.probabilities[:classes]
        yield row


def _paths(given: Iterable[str]) -> Iterator[str]:
    for path in given:
        if path == "-":
            stripped = (line.rstrip(b"\n") for line in sys.stdin.buffer)
            yield from (os.fsdecode(line) for line in stripped if line)
        else:
            yield path
