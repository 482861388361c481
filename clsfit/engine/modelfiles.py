"""What a finished epoch and a finished run leave behind: model files, and the summary."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clsfit.engine.records import Best
from clsfit.engine.state import copied, to_blob, weights
from clsfit.errors import CheckpointError, ResourceError
from clsfit.storage import durable, modelfile

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class _Moment:
    """A model at one moment: its weights copied, its file made once, since best and last are often the same.

    Attributes:
        header: all that applying the weights needs.
    """

    def __init__(self, run: Run, model: torch.nn.Module) -> None:
        self._tensors = copied(weights(model, run.loss))
        self.header = dict(run.header) | {"epoch": run.epoch, "step": run.step, "scores": _lasting(run.scores)}

    @cached_property
    def blob(self) -> bytes:
        """The weights in safetensors' format."""
        return to_blob(self._tensors)

    def write(self, directory: Path, name: str) -> None:
        """Writes the model file ``name``."""
        modelfile.write(directory / name, self.blob, self.header)

    def write_alone(self, directory: Path) -> None:
        """Writes ``last``; a ``last.raw`` is of before a resume without the average, by accepted changes."""
        self.write(directory, modelfile.LAST)
        durable.remove_file(directory / modelfile.RAW)


def save_models(run: Run, names: tuple[str, ...]) -> None:
    """Writes model files of this moment: weights, and in the header all that applying them needs.

    Written while training goes on, and not too often: a file that waits is replaced by the next epoch's.
    Where validation judges an average, ``last`` has the trained weights beside it, as ``last.raw``.
    """
    assert run.directory is not None
    folder, model = run.directory.path, run.judged
    judged = _Moment(run, model)
    if "best" in names:
        run.saver.replace("best", partial(judged.write, folder, modelfile.BEST))
    if "last" in names and model is run.model:
        run.saver.replace("last", partial(judged.write_alone, folder))
    elif "last" in names:
        run.saver.replace("last", partial(judged.write, folder, modelfile.LAST))
        run.saver.replace("raw", partial(_Moment(run, run.model).write, folder, modelfile.RAW))


def keep_best(run: Run, folder: Path) -> None:
    """Takes the epoch that best.safetensors holds for the best one, where a resume will not train it again as it was.

    The file is written before the checkpoint that tells of it: a kill in between leaves a later epoch there.
    A file that cannot be read is as none.

    Args:
        folder: the run's, also on ranks that write nothing there.
    """
    if run.best is None:
        return
    try:
        header = modelfile.read(folder / modelfile.BEST).header
    except (CheckpointError, ResourceError):
        return
    epoch, step, scores = header.get("epoch"), header.get("step"), header.get("scores")
    value = scores.get(run.best.monitor) if isinstance(scores, dict) else None
    if type(epoch) is int and type(step) is int and isinstance(value, float | int):
        run.best = Best(epoch, run.best.monitor, value, step)


def _lasting(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores without clock times, so that the same training gives the same file to the byte."""
    return {key: value for key, value in scores.items() if key not in {"seconds", "train_images_per_second"}}


def save_summary(run: Run) -> None:
    """Writes summary.json, which says that the run is complete."""
    if run.directory is None:
        return
    best = run.directory.path / modelfile.BEST
    run.directory.write_summary(
        {
            "best": {"epoch": run.best.epoch, "monitor": run.best.monitor, "value": run.best.value}
            if run.best
            else None,
            "epochs": run.epoch,
            "stop_reason": run.stop_reason,
            "seconds": round(run.seconds, 3),
            "model": best.name if best.exists() else modelfile.LAST,
            **({"rollbacks": run.rollbacks} if run.rollbacks else {}),
        }
    )
