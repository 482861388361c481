"""``clsfit predict``: a row for every picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsfit.cli import common, pages, tables, template
from clsfit.errors import ConfigError, DataError, printable

if TYPE_CHECKING:
    from clsfit.api import Prediction

EPILOG = """\
[bold]Examples[/]

  clsfit predict runs/digits-small_cnn new/*.png
  clsfit predict runs/photos-resnet18 holiday/ -o holiday.csv --top-k 3
  find . -name '*.jpg' | clsfit predict best.safetensors - -o found.jsonl
  clsfit predict runs/photos-resnet18 test/ --template sample.csv -o mine.csv

An unreadable picture is a row with an 'error', and exit code 3 at the end.
With --template its cell stays empty."""

SUBMISSION = "A competition's file"


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the command."""
    app.command("predict", cls=pages.Command, help=help_text, epilog=EPILOG)(predict)


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a run's folder, or a model file", show_default=False)],
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES",
            help="files, folders and archives (.zip, .tar); - reads paths from stdin, one a line",
            show_default=False,
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
    sample: Annotated[
        Path | None,
        typer.Option(
            "--template",
            metavar="<file>",
            help="fill the label column of this CSV; all else stays as it is",
            rich_help_panel=SUBMISSION,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", metavar="<name>", help="the column to fill", rich_help_panel=SUBMISSION),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id-column", metavar="<name>", help="the column that names pictures", rich_help_panel=SUBMISSION
        ),
    ] = None,
    batch_size: common.BatchSize = None,
    device: common.Device = "auto",
    workers: common.Workers = None,
    threads: common.Threads = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        file = None if str(output) == "-" else output
        if sample is not None:
            _check_filling(sample, file, top_k, probabilities)
            form = template.read(sample, label_column=label_column, id_column=id_column)
            asked = _asked(form, pictures)
        else:
            _refuse_alone({"--label-column": label_column, "--id-column": id_column})
            form, asked = None, []
            if file is not None:
                tables.format_of(file, "-o")
        loaded = common.load(model, device, threads)
        predictions = loaded.predict(
            _paths(pictures) if form is None else [picture.path for picture in asked if not picture.refused],
            batch_size=batch_size,
            workers=workers,
            progress=common.bar(alone=file is not None),
        )
        if form is not None:
            _write_filled(file, form, asked, predictions)
        else:
            _write_table(file, loaded.class_names, predictions, top_k, probabilities)

    return job


def _write_table(
    file: Path | None,
    class_names: Sequence[str],
    predictions: Iterable[Prediction],
    top_k: int,
    probabilities: bool,
) -> None:
    shown = min(top_k, len(class_names))
    failed: list[str] = []
    columns = ["path", "predicted", "probability", "error"]
    columns += [f"{name}_{rank}" for rank in range(2, shown + 1) for name in ("predicted", "probability")]
    columns += [f"p({name})" for name in class_names] if probabilities else []
    rows = _rows(predictions, shown, len(class_names) if probabilities else 0, failed)
    tables.write(file, columns, rows, option="-o")
    _refuse(failed, "their rows carry the reason under 'error'")


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


def _check_filling(sample: Path, file: Path | None, top_k: int, probabilities: bool) -> None:
    """Refuses what means nothing beside ``--template``, and an output that cannot be.

    Raises:
        ConfigError: as said.
    """
    for option, given in (("--top-k", top_k > 1), ("--probabilities", probabilities)):
        if given:
            raise ConfigError(
                f"a template has one column to fill, so {option} would do nothing",
                f"{option}; --template {printable(str(sample))}",
                f"leave out {option}, or --template",
            )
    if file is None:
        return
    where = f"-o {printable(str(file))}; --template {printable(str(sample))}"
    if file.suffix not in {".csv", "", sample.suffix} or file.suffix == ".jsonl":
        raise ConfigError("the filled template is CSV", where, "name a file that ends in .csv")
    tables.check_place(file, "-o")
    if os.path.realpath(file) == os.path.realpath(sample) or (file.exists() and file.samefile(sample)):
        raise ConfigError("the output would replace the template", where, "keep the template: name another file")


def _refuse_alone(options: Mapping[str, str | None]) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError("this option is for a template, and none is given", option, "add --template FILE")


def _asked(form: template.Template, pictures: Iterable[str]) -> list[template.Picture]:
    """The picture of each row; how many pictures no row asks for is said on stderr."""
    given = template.given(_paths(pictures))
    asked = template.match(form, given)
    whole = {picture.path for picture in given}
    unused = len(whole - {picture.path for picture in asked})
    if unused:
        print(f"clsfit: note: not in the template, so not read: {unused:,} of {len(whole):,} pictures", file=sys.stderr)
    return asked


def _write_filled(
    file: Path | None,
    form: template.Template,
    asked: Sequence[template.Picture],
    predictions: Iterable[Prediction],
) -> None:
    """Writes the template with the class of each row's picture, empty where that cannot be read."""
    by_path = {prediction.path: prediction for prediction in predictions}
    classes, failed = [], []
    for picture in asked:
        prediction = by_path.get(picture.path)
        classes.append(prediction.predicted if prediction is not None else "")
        if prediction is None or prediction.error:
            reason = picture.refused if prediction is None else prediction.error
            failed.append(f"{picture.path} ({reason})")
    tables.put_all(file, [form.filled(classes)])
    _refuse(failed, "their cells are empty")


def _refuse(failed: Sequence[str], remedy: str) -> None:
    if failed:
        raise DataError(
            f"{len(failed)} of the pictures could not be read",
            ", ".join(printable(path) for path in failed[:3]) + (", ..." if len(failed) > 3 else ""),
            remedy,
        )


def _paths(given: Iterable[str]) -> Iterator[str]:
    for path in given:
        if path == "-":
            stripped = (line.rstrip(b"\n") for line in sys.stdin.buffer)
            yield from (os.fsdecode(line) for line in stripped if line)
        else:
            yield path
