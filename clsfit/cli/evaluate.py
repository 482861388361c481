"""``clsfit evaluate``: the scores of a model on labelled pictures."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clsfit.cli import common, pages, tables
from clsfit.errors import ConfigError, TargetMissedError, printable

if TYPE_CHECKING:
    from clsfit.api import Evaluation

EPILOG = """\
[bold]Examples[/]

  clsfit evaluate runs/photos-resnet18
  clsfit evaluate runs/photos-resnet18 other-photos/ --json
  clsfit evaluate best.safetensors photos/ --split test --predictions out.csv
  clsfit evaluate runs/photos-resnet18 --fail-under accuracy=0.9

Without DATA: the run's own data, its validation part by the recorded split."""


def add(app: typer.Typer, help_text: str) -> None:
    """Registers the command."""
    app.command("evaluate", cls=pages.Command, help=help_text, epilog=EPILOG)(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a run's folder, or a model file", show_default=False)],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="a folder of pictures per class, one in a .zip or .tar, a table (.csv, .jsonl), or a data set's name",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option("--split", help="which part of the data"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="one JSON object on stdout")] = False,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="<file>", help="a row per picture: .csv or .jsonl"),
    ] = None,
    fail_under: Annotated[
        list[str],
        typer.Option(
            "--fail-under",
            metavar="<metric=value>",
            help="exit 9 if the metric is below; repeatable",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer's own way to say "none given"
    path_column: common.PathColumn = None,
    label_column: common.LabelColumn = None,
    weight_column: common.WeightColumn = None,
    split_by: common.SplitBy = None,
    batch_size: common.BatchSize = None,
    device: common.Device = "auto",
    workers: common.Workers = None,
    threads: common.Threads = None,
    debug: common.Debug = False,
) -> common.Job:
    def job() -> None:
        from clsfit.data.class_names import lacking

        options = common.given_columns(
            path_column=path_column, label_column=label_column, weight_column=weight_column, split_by=split_by
        )
        if options:
            from clsfit.labelled import check_options

            check_options(data, options)
        targets = _targets(fail_under)
        if predictions is not None:
            tables.format_of(predictions, "--predictions")
        loaded = common.load(model, device, threads)
        if predictions is not None and (place := data or _own_place(loaded.path)):
            tables.keep_out(predictions, place, "--predictions")
        evaluation = loaded.evaluate(
            data, split=split, batch_size=batch_size, workers=workers, progress=common.bar(alone=True), **options
        )
        _check_targets(targets, evaluation)
        what = evaluation.split if evaluation.split != "all" else "DATA"
        for line in lacking(what, {row.label for row in evaluation.rows}, evaluation.class_names):
            print(f"note: {line}", file=sys.stderr)
        if predictions is not None:
            _write_predictions(predictions, evaluation)
        if as_json:
            tables.put(tables.json_text({**evaluation.scores, "per_class": evaluation.per_class}))
        else:
            from clsfit.engine.sums import undefined_notes

            tables.put("\n".join(_report(evaluation)))
            for note in undefined_notes(evaluation.per_class):
                print(note, file=sys.stderr)
        _judge(targets, evaluation.scores)

    return job


def _own_place(model: Path) -> str | None:
    """Where the data of the model's own run is; None: it is in no place, or there is no run."""
    from clsfit.storage.rundir import RunDirectory

    directory = RunDirectory(model.parent)
    data = directory.read_data() if directory.holds_run() else None
    place = data.get("path") if isinstance(data, dict) else data
    return place if isinstance(place, str) else None


def _targets(given: Sequence[str]) -> dict[str, float]:
    """``metric=value`` pairs as a dict, checked before anything is loaded."""
    targets = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name or not math.isfinite(value):
            raise ConfigError(
                f"not a target: {printable(text)!r}", "--fail-under", "write METRIC=VALUE, such as accuracy=0.9"
            )
        if name == "loss":
            raise ConfigError("a loss is good when it is low", "--fail-under loss", "name a metric")
        targets[name] = value
    return targets


def _check_targets(targets: Collection[str], evaluation: Evaluation) -> None:
    """Refuses a target for a metric that the model has not, or that is good when it is low."""
    for name in targets:
        if name not in evaluation.scores:
            raise ConfigError(
                f"this model has no metric {printable(name)!r}",
                f"--fail-under {printable(name)}",
                "its metrics: " + ", ".join(key for key in evaluation.scores if key != "loss"),
            )
        if not evaluation.higher_is_better[name]:
            raise ConfigError(
                f"{printable(name)} is good when it is low",
                f"--fail-under {printable(name)}",
                "name a metric that is good when it is high",
            )


def _write_predictions(file: Path, evaluation: Evaluation) -> None:
    columns = ["path", "label", "predicted", "probability"]
    columns += [f"p({name})" for name in evaluation.class_names]
    rows = ([r.path, r.label, r.predicted, r.probability, *r.probabilities] for r in evaluation.rows)
    tables.write(file, columns, rows, option="--predictions")


def _judge(targets: Mapping[str, float], scores: Mapping[str, float | None]) -> None:
    missed = []
    for name, target in targets.items():
        score = scores[name]
        if score is None or not score >= target:
            missed.append(f"{name} is {_number(score)}, below {target!r}")
    if missed:
        raise TargetMissedError("; ".join(missed), "--fail-under")


def _report(evaluation: Evaluation) -> list[str]:
    """The scores for people: one line each, then a table with a line per class."""
    width = max(len(name) for name in evaluation.scores)
    out = [f"{name:<{width}}  {_number(value)}" for name, value in evaluation.scores.items()]
    if evaluation.per_class:
        first = max(len("class"), *(len(printable(name)) for name in evaluation.class_names))
        names = list(evaluation.per_class)
        widths = [max(len(name), 9) for name in names]
        out += ["", "  ".join([f"{'class':<{first}}", *(f"{n:>{w}}" for n, w in zip(names, widths, strict=True))])]
        for label in evaluation.class_names:
            values = (_number(evaluation.per_class[name].get(label)) for name in names)
            cells = [f"{value:>{w}}" for value, w in zip(values, widths, strict=True)]
            out.append("  ".join([f"{printable(label):<{first}}", *cells]))
    return out


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6g}"
