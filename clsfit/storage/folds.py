"""The folder of a cross-validation: a run for each fold, and what they say together.

::

    fold-1/  fold-2/  ...      a run directory each
    out-of-fold.csv            each picture as the model saw it that was not trained on it
    folds.json                 written last: with it the cross-validation is complete
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clsfit.errors import CheckpointError, printable
from clsfit.storage import durable, modelfile
from clsfit.storage.jsontext import to_json
from clsfit.storage.rundir import RunDirectory, csv_line

SUMMARY, TABLE = "folds.json", "out-of-fold.csv"


class FoldsDirectory:
    """The files of a cross-validation.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def run(self, fold: int) -> RunDirectory:
        """The run of a fold, from 1."""
        return RunDirectory(self.path / f"fold-{fold}")

    def runs(self) -> dict[int, RunDirectory]:
        """The runs that were started, by fold."""
        names = [path.name.removeprefix("fold-") for path in self.path.glob("fold-*")]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        return {number: self.run(number) for number in numbers if self.run(number).holds_run()}

    def complete(self) -> bool:
        """Whether all folds were trained and judged."""
        return (self.path / SUMMARY).is_file()

    def reopen(self) -> None:
        """Takes back what the folds said together."""
        for name in (SUMMARY, TABLE):
            with durable.resource_errors(self.path / name, doing="removed"):
                (self.path / name).unlink(missing_ok=True)

    def write_table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Writes out-of-fold.csv."""
        text = "".join(csv_line(line) for line in (columns, *rows))
        durable.write_file(self.path / TABLE, text.encode("utf-8", "surrogateescape"), failpoint="predictions")

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Writes folds.json."""
        durable.write_file(self.path / SUMMARY, (to_json(values, indent=2) + "\n").encode(), failpoint="summary")

    def read_summary(self) -> dict[str, Any]:
        """What folds.json says.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        path = self.path / SUMMARY
        try:
            values = json.loads(durable.read_file(path))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(path) from error
        if not isinstance(values, dict):
            raise _damaged(path)
        return values


def models(path: str | Path) -> list[Path]:
    """The model files of a cross-validation's folds, each the best of its run; empty where ``path`` is none.

    Raises:
        CheckpointError: it is one, and a fold's model is missing, or folds.json damaged.
    """
    if not os.path.isdir(path) or not FoldsDirectory(path).complete():
        return []
    number = FoldsDirectory(path).read_summary().get("folds")
    if not isinstance(number, int) or number < 2:
        raise _damaged(Path(path) / SUMMARY)
    return [modelfile.resolve(FoldsDirectory(path).run(fold).path) for fold in range(1, number + 1)]


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        "what the folds said together cannot be read", printable(str(path)), "make it again: train with --resume"
    )
