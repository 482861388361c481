"""The Python API, of which the command line is a thin caller.

>>> import clsfit
>>> run = clsfit.train("photos/", loss={"name": "focal", "gamma": 3}, epochs=5)
>>> for prediction in clsfit.load(run.directory).predict(["new.jpg"]):
...     print(prediction.path, prediction.predicted, prediction.probability)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsfit.config import Config, resolve, switches
from clsfit.crossvalidation import train_folds
from clsfit.interrupts import held
from clsfit.registry import Plugins
from clsfit.results import EvaluatedPicture, Evaluation, Prediction
from clsfit.resume import check_plugins
from clsfit.timing.bench import bench_config
from clsfit.timing.results import Benchmark
from clsfit.training import Control, TrainedRun, train_config

with held():  # here torch is imported, and an interrupt in the middle of that could abort the process
    from clsfit.engine.report import Reporter
    from clsfit.model import Model, load

__all__ = [
    "Benchmark",
    "Control",
    "EvaluatedPicture",
    "Evaluation",
    "Model",
    "Prediction",
    "TrainedRun",
    "bench",
    "bench_config",
    "load",
    "train",
    "train_wanted",
]


def train(
    data: str | Path | None = None,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    accept_changes: bool = False,
    dry_run: bool = False,
    strict: bool = False,
    recipe: str | None = None,
    config: Sequence[str | Path] = (),
    verbosity: int = 1,
    **options: Any,
) -> TrainedRun:
    """Trains a classifier, as ``clsfit train`` does.

    Args:
        data: a folder, an archive, a table, or the name of a data set; None is the recipe's.
        output: the run directory; None is runs/<data>-<model>.
        resume: go on with the run that ``output`` holds, if there is one.
        overwrite: replace it.
        accept_changes: go on although options, data or plugins have changed.
        dry_run: everything but training.
        strict: refuse data that would only be warned of: pictures in two splits.
        recipe: the name of a recipe; None is ``default``.
        config: YAML files, in rising precedence.
        verbosity: -1 is silent, 0 tells of warnings only, 1 is normal, 2 detailed.
        options: the configuration's keys: ``epochs=5``, ``loss={"name": "focal", "gamma": 3}``,
            ``metric=["accuracy", {"name": "f1", "average": "macro"}]``, ``disable_plugins=["clsfit-x"]``.

    Raises:
        ClsfitError: its ``exit_code`` says which kind of failure it is.
    """
    tree, files, plugins = _given(data, config, options)
    if resume and output is not None:
        check_plugins(plugins, Path(output))
    resolved = resolve(plugins, recipe=recipe, files=files, options=tree)
    control = Control(
        output=Path(output) if output is not None else None,
        resume=resume,
        overwrite=overwrite,
        accept_changes=accept_changes,
        dry_run=dry_run,
        strict=strict,
        verbosity=verbosity,
    )
    return train_wanted(resolved, plugins, control)


def train_wanted(config: Config, plugins: Plugins, control: Control) -> TrainedRun:
    """Trains one run, or where ``config`` wishes for folds and names none of them, one for each."""
    several = config.settings.folds is not None and config.settings.fold is None
    return (train_folds if several else train_config)(config, plugins, control)


def bench(
    data: str | Path | None = None,
    *,
    seconds: float = 3.0,
    recipe: str | None = None,
    config: Sequence[str | Path] = (),
    verbosity: int = 1,
    **options: Any,
) -> Benchmark:
    """Measures where the time of :func:`train` with the same arguments would go, as ``clsfit bench`` does.

    Args:
        data: a folder, an archive, a table, or the name of a data set; None is the recipe's.
        seconds: how long each measurement takes; above 0.
        recipe: the name of a recipe; None is ``default``.
        config: YAML files, in rising precedence.
        verbosity: 0 is silent, 1 says on stderr what is being measured.
        options: the configuration's keys, as for :func:`train`.

    Raises:
        ClsfitError: its ``exit_code`` says which kind of failure it is.
    """
    tree, files, plugins = _given(data, config, options)
    resolved = resolve(plugins, recipe=recipe, files=files, options=tree)
    return bench_config(resolved, seconds, Reporter(verbosity).say)


def _given(
    data: str | Path | None, config: Sequence[str | Path], options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Path], Plugins]:
    """The configuration's tree, its files, and the plugins that they leave on."""
    tree = dict(options) | ({"data": str(data)} if data is not None else {})
    files = [Path(file) for file in config]
    off = switches(files=files, options=tree)
    plugins = Plugins.discover(disable=off.disable, may_be_absent=off.standing, bundled_only=off.bundled_only)
    return tree, files, plugins
