"""K models, each validated on another part of the pictures: ``clsfit train --folds K``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clsfit.config import Config
from clsfit.destination import default_name, keep_out_of_data
from clsfit.distributed import launch
from clsfit.errors import CheckpointError, ConfigError, printable
from clsfit.registry import Plugins
from clsfit.storage.folds import FoldsDirectory
from clsfit.storage.rundir import RunDirectory
from clsfit.training import Control, TrainedRun, train_config

if TYPE_CHECKING:
    from clsfit.results import Evaluation


def train_folds(config: Config, plugins: Plugins, control: Control) -> TrainedRun:
    """Trains a run for each of the ``folds`` of ``config``, and tells what they say together.

    Each is an ordinary run in a folder of its own, so it is resumed, judged and applied like any other.

    Returns:
        The folder of all, with what its folds.json says as summary; ``metrics`` is empty.

    Raises:
        ConfigError: there are folds or a run already, or several processes were started.
        ClsfitError: as :func:`clsfit.training.train_config`.
    """
    count = config.settings.folds
    assert count is not None
    if launch.place() is not None:
        raise ConfigError(
            "several processes train one run, and --folds is several",
            "option --folds",
            "train the folds one by one: add --fold 1, then --fold 2, ...",
        )
    directory = FoldsDirectory(control.output or default_name(config, control.resume))
    keep_out_of_data(config, directory.path)
    _check_place(directory, control)
    trained: list[TrainedRun] = []
    for fold in range(1, count + 1):
        trained.append(_train_fold(config, plugins, control, directory, fold))
        if not control.dry_run and not _told(directory, count, trained):
            directory.reopen()  # only now: until data and options have proved good, nothing is lost
    if control.dry_run:
        return trained[0]
    if not directory.complete():
        _clear(run for fold, run in directory.runs().items() if fold > count)
        _judge(config, directory, trained)
    summary = directory.read_summary()
    for name, score in summary["scores"].items():
        _say(control, f"{count} folds: {name} {_shown(score)}")
    _say(control, f"folds: {directory.path}")
    return TrainedRun(directory.path, summary, [])


def _check_place(directory: FoldsDirectory, control: Control) -> None:
    if RunDirectory(directory.path).holds_run():
        raise ConfigError(
            "there is a run already, which is no cross-validation", f"in {directory.path}", "give another -o"
        )
    if directory.runs() and not (control.resume or control.overwrite):
        raise ConfigError(
            "there are folds already",
            f"in {directory.path}",
            "give --resume to go on, --overwrite to start anew, or another -o",
        )


def _train_fold(config: Config, plugins: Plugins, control: Control, directory: FoldsDirectory, fold: int) -> TrainedRun:
    _say(control, f"fold {fold} of {config.settings.folds}")
    return train_config(config.replace_settings(fold=fold), plugins, replace(control, output=directory.run(fold).path))


def _told(directory: FoldsDirectory, count: int, trained: Sequence[TrainedRun]) -> bool:
    """Whether folds.json is of as many folds, and of the runs that were ``trained``, the first of them."""
    try:
        summary = directory.read_summary()
        return bool(summary["folds"] == count and summary["runs"][: len(trained)] == _ends(trained))
    except (CheckpointError, KeyError, TypeError):
        return False


def _clear(runs: Iterable[RunDirectory]) -> None:
    """Deletes the runs of folds that are no more."""
    for run in runs:
        with run.lock():
            run.clear()


def _judge(config: Config, directory: FoldsDirectory, trained: Sequence[TrainedRun]) -> None:
    """Has each fold's best model judge the pictures that it was not trained on."""
    from clsfit.model import load

    settings = config.settings
    judged = [
        load(run.directory, device=settings.device, threads=settings.threads).evaluate(
            split="val", workers=settings.workers
        )
        for run in trained
    ]
    names = judged[0].class_names
    columns = ["path", "label", "fold", "predicted", "probability", *(f"p({name})" for name in names)]
    directory.write_table(columns, _rows(directory, judged))
    scores = {name: _score([evaluation.scores[name] for evaluation in judged]) for name in judged[0].scores}
    directory.write_summary({"folds": len(trained), "scores": scores, "runs": _ends(trained)})


def _rows(directory: FoldsDirectory, judged: Sequence[Evaluation]) -> list[list[str]]:
    """A row for each picture that some fold has held out, in the order of the data set's table."""
    by_path = {row.path: (fold, row) for fold, evaluation in enumerate(judged, 1) for row in evaluation.rows}
    rows = []
    for path in (row["path"] for row in directory.run(1).read_split()):
        if path in by_path:
            fold, row = by_path[path]
            numbers = map(repr, (row.probability, *row.probabilities))
            rows.append([path, row.label, str(fold), row.predicted, *numbers])
    return rows


def _score(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard deviation over folds, of n - 1 degrees of freedom; None where a fold has no value."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    return {
        "mean": statistics.fmean(known) if whole else None,
        "std": statistics.stdev(known) if whole else None,
        "folds": list(values),
    }


def _ends(trained: Sequence[TrainedRun]) -> list[Mapping[str, Any]]:
    """What tells whether a fold was trained again since it was judged."""
    return [{"best": run.summary.get("best"), "seconds": run.summary.get("seconds")} for run in trained]


def _shown(score: Mapping[str, Any]) -> str:
    return "undefined in a fold" if score["mean"] is None else f"{score['mean']:.4f} +- {score['std']:.4f}"


def _say(control: Control, line: str) -> None:
    from clsfit.engine.report import Reporter

    Reporter(control.verbosity).say(printable(line))
