"""A trained model, loaded from its file: judged by ``evaluate``, applied by ``predict``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit import header as headers
from clsfit.allocations import Allocations
from clsfit.averaged import average
from clsfit.config import Selection
from clsfit.data import canvases, checks, sources
from clsfit.data.prepare import Prepare
from clsfit.data.table import SampleTable
from clsfit.data.threads import workers_of
from clsfit.engine import device as devices
from clsfit.engine import precision as precisions
from clsfit.engine.blame import raise_blamed
from clsfit.engine.infer import evaluate, infer
from clsfit.engine.precision import Precision
from clsfit.engine.report import Reporter
from clsfit.engine.state import from_blob, load_weights
from clsfit.engine.sums import Sums
from clsfit.errors import CheckpointError, ConfigError, DataError, PluginError, ResourceError, printable
from clsfit.factory import build_module
from clsfit.labelled import labelled
from clsfit.making import make
from clsfit.pipeline.augment import Augmentation
from clsfit.pipeline.batches import batch_bounds
from clsfit.pipeline.finish import Finish
from clsfit.pipeline.loader import Batch, Loader
from clsfit.provenance import packages
from clsfit.registry import Plugins
from clsfit.results import EvaluatedPicture, Evaluation, Prediction
from clsfit.shortage import shortage
from clsfit.storage import folds, modelfile

_MOST_NUMBERS = 1 << 31
"""In a batch of a size that only the file asks for: no training had more, and 8 GiB are enough."""


class Model:
    """A classifier with everything it needs: weights, classes, preprocessing.

    Built by :func:`load`; ``header`` is what its file says beside the weights.
    """

    def __init__(self, path: Path, header: dict[str, Any], plugins: Plugins, device: torch.device) -> None:
        self.path, self.header, self.device = path, header, device
        self._plugins = plugins
        self.class_names: tuple[str, ...] = tuple(header["classes"])
        self.prepare = Prepare.from_json(header["prepare"])
        self.finish = Finish.from_json(header["finish"])
        self.batch_size = min(header["batch_size"], max(1, _MOST_NUMBERS // self.finish.values(1)))
        self._filled: dict[str, Any] = {
            "num_classes": len(self.class_names),
            "class_names": self.class_names,
            "class_counts": tuple(header["class_counts"]),
            "in_channels": self.finish.channels,
            "input_size": self.finish.input_size,
            "seed": header["seed"],
            "total_steps": header["total_steps"],
            "steps_per_epoch": header["steps_per_epoch"],
        }
        self.module = build_module(self._selection("model", header["model"]), self._filled, device)
        self.loss = build_module(self._selection("loss", header["loss"]), self._filled, device)
        trained_so = header.get("channels_last", False) and device.type != "mps"
        self._memory_format = torch.channels_last if trained_so else torch.contiguous_format
        augments = [self._selection("augment", entry) for entry in header.get("augments", [])]
        self._augments = Augmentation([(choice.name, make(choice, self._filled)) for choice in augments])
        self.precision = Precision(_precision(header["precision"], header["device"], device), device)

    def evaluate(
        self,
        data: str | None = None,
        *,
        split: str | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        progress: bool = False,
        path_column: str | None = None,
        label_column: str | None = None,
        weight_column: str | None = None,
        split_by: str | None = None,
    ) -> Evaluation:
        """Judges the model on labelled pictures.

        Args:
            data: a folder or a data set's name; None is the run's own data with its columns and its recorded split.
            split: train, val, test or all; by default val where there is one, else test, else all.
            batch_size: by default that of the training, so that the numbers are validation's to the bit.
            workers: decoding threads.
            progress: whether to show a bar on a terminal.
            path_column: of the table that ``data`` is; None: by its usual names.
            label_column: the same.
            weight_column: the same.
            split_by: what says the parts of ``data``: ``folder``, a column, or a table of its own; None: its own split.

        Raises:
            ConfigError: an option without effect; a column is not there.
            DataError: the pictures cannot be used, or have a class that the model does not know.
        """
        options = {
            "path_column": path_column,
            "label_column": label_column,
            "weight_column": weight_column,
            "split_by": split_by,
        }
        chosen, table, rows, loader = self._judged(data, split, workers, options)
        bounds = batch_bounds(len(rows), batch_size or self.batch_size)
        batches = Reporter(int(progress)).bar(loader.batches(rows, bounds), len(bounds), "evaluate", "batch")
        judged: list[EvaluatedPicture] = []

        def note(batch: Batch, logits: torch.Tensor) -> None:
            for row, best, p in zip(batch.rows.tolist(), *ranked(logits), strict=True):
                label = self.class_names[table.targets[row]]
                judged.append(EvaluatedPicture(table.paths[row], label, self.class_names[best], p[best], tuple(p)))

        metrics = {
            entry["name"]: make(self._selection("metric", entry), self._filled) for entry in self.header["metrics"]
        }
        try:
            sums = evaluate(self.module, self.loss, batches, self.precision, Sums(metrics), each=note)
            scores = sums.scores()  # counts what has gathered; per class comes after
            per_class = sums.per_class(self.class_names)
        except (Exception, SystemExit) as error:
            raise_blamed(error, self._packages(), batch_size=batch_size or self.header["batch_size"])
        higher = {name: bool(metric.higher_is_better) for name, metric in metrics.items()}
        return Evaluation(chosen, scores, per_class, higher, judged, self.class_names)

    def predict(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> Iterator[Prediction]:
        """Applies the model to pictures, in their order; folders and archives stand for the pictures below them.

        A picture that cannot be read is a prediction with ``error``.

        Raises:
            DataError: there is not one picture.
        """
        source = sources.files([paths] if isinstance(paths, str | Path) else [str(path) for path in paths])
        table = source.table()
        loader = self._loader(canvases.stream(source, self.prepare), table.targets, workers, tolerate=True)
        rows = np.arange(len(table.paths))
        bounds = batch_bounds(len(rows), batch_size or self.batch_size)
        batches = Reporter(int(progress)).bar(loader.batches(rows, bounds), len(bounds), "predict", "batch")
        try:
            for batch, logits in infer(self.module, batches, self.precision):
                for i, (row, best, p) in enumerate(zip(batch.rows.tolist(), *ranked(logits), strict=True)):
                    yield self._prediction(table.paths[row], batch.errors.get(i, ""), best, p)
        except (Exception, SystemExit) as error:
            raise_blamed(error, self._packages(), batch_size=batch_size or self.header["batch_size"])

    def _judged(
        self, data: str | None, split: str | None, workers: int | None, options: Mapping[str, str | None]
    ) -> tuple[str, SampleTable, npt.NDArray[np.int64], Loader]:
        """Which part is judged, the table, its rows [N] int64 of that part, and who loads them."""
        source, table = labelled(data, self.path, self.class_names, self._plugins, options)
        chosen = split or next((name for name in ("val", "test") if len(table.rows(name))), "all")
        rows = table.rows(chosen) if chosen != "all" else np.arange(len(table.paths))
        if not len(rows):
            raise DataError(f"there are no {chosen} pictures", data or str(self.path), "choose another --split")
        if (table.targets[rows] < 0).any():
            raise DataError(
                f"some {chosen} pictures have no label", data or str(self.path), "label them, or use predict"
            )
        made, bad = canvases.build(
            source, rows, self.prepare, cache="auto", workers=workers_of(workers), skip_bad=False, progress=None
        )
        if bad:
            raise checks.refuse(bad, table.paths, remedy="repair or remove what is named")
        return chosen, table, rows, self._loader(made, table.targets, workers, weights=table.weights, judged=True)

    def _prediction(self, path: str, error: str, best: int, p: Sequence[float]) -> Prediction:
        if error:
            return Prediction(path, "", None, error, self.class_names, ())
        return Prediction(path, self.class_names[best], p[best], "", self.class_names, tuple(p))

    def _loader(
        self,
        made: Any,
        targets: Any,
        workers: int | None,
        *,
        weights: Any = None,
        judged: bool = False,
        tolerate: bool = False,
    ) -> Loader:
        by_class = self.header.get("class_weights") if judged else None
        return Loader(
            made,
            targets,
            self.finish,
            device=self.device,
            augments=self._augments,
            workers=workers_of(workers),
            weights=weights,
            class_weights=None if by_class is None else np.array(by_class),
            memory_format=self._memory_format,
            tolerate=tolerate,
        )

    def _selection(self, kind: str, entry: dict[str, Any]) -> Selection:
        try:
            offer = self._plugins.find(kind, f"{entry['plugin']}:{entry['name']}")
        except ConfigError as error:  # the file's fault or its plugin's, not the command's
            raise CheckpointError(error.what, printable(str(self.path)), error.remedy) from error
        return Selection(entry["name"], dict(entry["params"]), offer)

    def _packages(self) -> dict[str, str]:
        return packages(
            offer for kind in ("model", "loss", "metric", "augment") for offer in self._plugins.offers(kind)
        )


def load(path: str | Path, *, device: str = "auto", threads: int | None = None) -> Model:
    """Loads a model file, or a run directory's best one; of a cross-validation all, as one that averages.

    Only the plugins that the file records are imported.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
        PluginError: a plugin that it needs is not installed, or fails.
    """
    if parts := folds.models(path):
        return average([_load(part, device, threads) for part in parts], Path(path) / folds.SUMMARY)
    return _load(modelfile.resolve(Path(path)), device, threads)


def _load(where: Path, device: str, threads: int | None) -> Model:
    read = modelfile.read(where)
    headers.check(read.header, where)
    try:
        needed = {entry["name"]: f"{entry['distribution']}=={entry['version']}" for entry in read.header["plugins"]}
        plugins = Plugins.discover(only=set(needed))
        _check_plugins(plugins, needed)
        with Allocations.of_file(len(read.blob)):
            model = Model(where, read.header, plugins, devices.choose(device))
        devices.set_threads(threads, model.finish.values(read.header["batch_size"]))
        tensors = from_blob(read.blob)
        _check_kinds(model, tensors)
        load_weights(model.module, model.loss, tensors)  # lazy layers get their shapes here
        model.module.to(memory_format=model._memory_format)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if scarce := shortage(error, "free some memory, or raise its limit (ulimit -v)"):
            raise scarce from error
        raise CheckpointError(
            f"the model file does not fit: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            printable(str(where)),
            "install the plugin versions that it was trained with, named in its header",
        ) from error
    return model


def ranked(logits: torch.Tensor) -> tuple[list[int], list[list[float]]]:
    """The class of each sample, and the probabilities [B][K] of all.

    The class is the first of the largest logits, as metrics count it; probabilities are a softmax in
    float64, so that each row sums to one to the last digits.
    """
    # first to the host: MPS has no float64, and would convert there
    return logits.argmax(1).tolist(), logits.cpu().double().softmax(1).tolist()


def _precision(name: str, trained_on: str, device: torch.device) -> str:
    """The training's precision on its kind of device; elsewhere too, but on a CPU, which is slow in any but fp32."""
    if device.type == "cpu" and trained_on != "cpu":
        return "fp32"
    try:
        return precisions.choose(name, device)
    except ResourceError:
        return "fp32"


def _check_kinds(model: Model, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuses numbers of another format than the model's, which loading would convert without a word."""
    for prefix, module in (("model.", model.module), ("loss.", model.loss)):
        for name, own in module.state_dict().items():
            given = tensors.get(prefix + name)
            if given is not None and isinstance(own, torch.Tensor) and given.dtype != own.dtype:
                raise TypeError(f"{prefix}{name} is {given.dtype} in the file and {own.dtype} in the model")


def _check_plugins(plugins: Plugins, needed: dict[str, str]) -> None:
    found = {plugin.name: plugin for plugin in plugins.plugins}
    for name, requirement in needed.items():
        if name not in found:
            raise PluginError(
                f"the model was trained with plugin {name!r}, which is not installed",
                f"it came with {requirement}",
                f"python -m pip install {requirement}",
            )
        if found[name].status != "ok":
            raise PluginError(
                f"the model needs plugin {name!r}, which is {found[name].status}: {found[name].error}",
                f"of {found[name].distribution} {found[name].version}",
                f"python -m pip install {requirement}",
            )
