"""The run directory: which files a run has, and who may write them.

::

    config.yaml  environment.json  split.csv      written at the start
    metrics.jsonl  log.txt                        appended
    checkpoints/                                  see :mod:`.checkpoints`
    best.safetensors  last.safetensors            see :mod:`.modelfile`; also last.raw.safetensors
    summary.json                                  written last: a run that has it is complete
    .lock                                         the pid of the process that writes, or wrote
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from clsfit.errors import CheckpointError, ConfigError, ResourceError, printable
from clsfit.storage import checkpoints, durable, modelfile
from clsfit.storage.jsontext import to_json
from clsfit.storage.lock import Lock
from clsfit.storage.log import AppendLog, JsonLog

CONFIG, ENVIRONMENT, SPLIT, METRICS, LOG, SUMMARY = (
    "config.yaml",
    "environment.json",
    "split.csv",
    "metrics.jsonl",
    "log.txt",
    "summary.json",
)
CHECKPOINTS, LOCK = "checkpoints", ".lock"
SPLIT_COLUMNS = ("path", "label", "group", "split")
_QUOTED = re.compile('[,"\r\n]')
_TEMPORARY = re.compile(re.escape(durable.TEMPORARY) + "[0-9a-f]{16}")


class RunDirectory:
    """The files of one run.

    Making the object touches nothing. Writing needs :meth:`lock`; reading does not.

    Args:
        path: the directory, which need not exist yet.

    Attributes:
        path: the directory.
        checkpoints: where its checkpoints are.
        metrics: metrics.jsonl, one object per epoch.
        log: log.txt.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / CHECKPOINTS
        self.metrics = JsonLog(self.path / METRICS, "metrics")
        self.log = AppendLog(self.path / LOG, "log")
        self._lock: Lock | None = None
        self._made = False

    def create(self) -> None:
        """Makes the directory, and those above it; fine if it exists.

        Raises:
            ResourceError: it cannot be made.
        """
        with durable.resource_errors(self.path, doing="made"):
            durable.make_directory(self.path)

    def check_place(self) -> None:
        """Finds now what :meth:`create` would find later: a file in the way, or a folder that is not ours to write.

        Raises:
            ResourceError: no run can be written here.
        """
        with durable.resource_errors(self.path, doing="made"):
            place = next(place for place in (self.path, *self.path.absolute().parents) if os.path.lexists(place))
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(place))
            if not os.access(place, os.W_OK | os.X_OK):
                read_only = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
                reason = errno.EROFS if read_only else errno.EACCES
                raise OSError(reason, os.strerror(reason), str(place))

    def lock(self) -> Self:
        """Becomes the run's only writer, until :meth:`close` or the end of a ``with`` on the result.

        The directory is made if missing, and what a killed writer has left behind is swept.

        Raises:
            ResourceError: another process writes this run (named by its pid), or it cannot be written.
        """
        self._made = not self.path.exists()
        self.create()
        held = Lock(self.path / LOCK)
        try:
            if self.checkpoints.is_symlink():
                raise ResourceError(
                    "it is a symbolic link, and clsfit never writes through one",
                    printable(str(self.checkpoints)),
                    "link the run's whole directory instead",
                )
            checkpoints.sweep(self.checkpoints)
            with durable.resource_errors(self.path):
                for entry in filter(_TEMPORARY.fullmatch, os.listdir(self.path)):
                    (self.path / entry).unlink()
        except BaseException:
            held.release()
            raise
        self._lock = held
        return self

    def close(self) -> None:
        """Closes the logs and lets other writers in.

        A directory that :meth:`lock` made and in which no run was started is taken away again.
        """
        self.metrics.close()
        self.log.close()
        if self._lock is not None:
            if self._made and not self.holds_run():
                with suppress(OSError):  # not empty: somebody else's files stay
                    (self.path / LOCK).unlink()
                    self.path.rmdir()
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return os.path.lexists(self.path / CONFIG)

    def holds_checkpoint(self) -> bool:
        """Whether there is any checkpoint; damaged ones count, so that none is silently passed over."""
        return checkpoints.exist(self.checkpoints)

    def complete(self) -> bool:
        """Whether the run was finished: its summary, which is written last, is there and readable."""
        try:
            return "stop_reason" in self.read_summary()
        except CheckpointError:
            return False

    def reopen(self) -> None:
        """Takes back that the run is complete, to train it further."""
        self._remove(SUMMARY)

    def clear(self) -> None:
        """Deletes the run: the names of the layout and nothing else, so never a user's own file.

        A complete run stops being one first, and config.yaml goes last: a kill in between leaves a run
        that can be cleared again.

        Raises:
            ConfigError: there is no run here.
            ResourceError: something could not be deleted.
        """
        if not self.holds_run():
            raise ConfigError(
                "there is no run to overwrite: it has no config.yaml", printable(str(self.path)), "check the -o"
            )
        self.metrics.close()
        self.log.close()
        self._remove(SUMMARY)
        checkpoints.clear(self.checkpoints)
        for name in (modelfile.BEST, modelfile.LAST, modelfile.RAW, METRICS, LOG, SPLIT, ENVIRONMENT):
            self._remove(name)
        with durable.resource_errors(self.path, doing="cleared"):
            durable.sync_directory(self.path)
            self._remove(CONFIG)
            durable.sync_directory(self.path)

    def write_config(self, text: str) -> None:
        """Writes config.yaml; from now on a run is held here."""
        self._write(CONFIG, text, "config")

    def write_environment(self, values: Mapping[str, Any]) -> None:
        """Writes environment.json."""
        self._write(ENVIRONMENT, to_json(values, indent=2) + "\n", "environment")

    def write_split(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Writes split.csv; each row has the keys path, label, group and split."""
        lines = [SPLIT_COLUMNS, *(tuple(row[column] for column in SPLIT_COLUMNS) for row in rows)]
        self._write(SPLIT, "".join(map(csv_line, lines)), "split")

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Writes summary.json with at least ``stop_reason``; from now on the run is complete."""
        self._write(SUMMARY, to_json(values, indent=2) + "\n", "summary")

    def read_config(self) -> str:
        """The text of config.yaml.

        Raises:
            CheckpointError: it is missing or damaged (so for every ``read_…``).
        """
        return self._read(CONFIG)

    def read_data(self) -> Any:
        """What config.yaml says the data was: a path, or a mapping with the data set's name."""
        data = self.read_tree().get("data")
        name = data.get("name") if isinstance(data, dict) else data
        if not isinstance(name, str) or "\0" in name:
            raise _damaged(self.path / CONFIG, "it names no data")
        return data

    def read_tree(self) -> dict[str, Any]:
        """The values of config.yaml, by its keys."""
        from clsfit.config import yaml

        try:
            tree = yaml.parse(self._read(CONFIG), CONFIG).plain()
        except ConfigError as error:
            raise _damaged(self.path / CONFIG, "it names no data") from error
        if not isinstance(tree, dict):
            raise _damaged(self.path / CONFIG, "it names no data")
        return tree

    def read_environment(self) -> dict[str, Any]:
        """The values of environment.json."""
        return self._read_object(ENVIRONMENT)

    def read_split(self) -> list[Mapping[str, str]]:
        """The rows of split.csv, as they were given to :meth:`write_split`."""
        text = self._read(SPLIT)
        try:
            lines = list(csv.reader(_physical_lines(text), strict=True))
        except csv.Error as error:
            raise _damaged(self.path / SPLIT, str(error)) from error
        if not lines or tuple(lines[0]) != SPLIT_COLUMNS or any(len(line) != len(SPLIT_COLUMNS) for line in lines):
            raise _damaged(self.path / SPLIT, f"not every row is {','.join(SPLIT_COLUMNS)}")
        return [dict(zip(SPLIT_COLUMNS, line, strict=True)) for line in lines[1:]]

    def read_summary(self) -> dict[str, Any]:
        """The values of summary.json."""
        return self._read_object(SUMMARY)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a torn last line is not one."""
        whole, _, _ = self._read(METRICS).rpartition("\n")
        try:
            return [json.loads(line) for line in whole.split("\n")] if whole else []
        except ValueError as error:
            raise _damaged(self.path / METRICS, str(error)) from error

    def _write(self, name: str, text: str, failpoint: str) -> None:
        durable.write_file(self.path / name, text.encode("utf-8", "surrogateescape"), failpoint=failpoint)

    def _read(self, name: str) -> str:
        path = self.path / name
        try:
            return durable.read_file(path).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise _damaged(path, (error.strerror or type(error).__name__).lower()) from error

    def _read_object(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads(self._read(name))
        except (ValueError, RecursionError) as error:
            raise _damaged(self.path / name, "it is no JSON") from error
        if not isinstance(values, dict):
            raise _damaged(self.path / name, "it is no JSON object")
        return values

    def _remove(self, name: str) -> None:
        path = self.path / name
        with durable.resource_errors(path, doing="deleted"):
            durable.failpoint("clear:remove")
            path.unlink(missing_ok=True)


def csv_line(cells: Iterable[str]) -> str:
    """A line of CSV with its end; Python's own writer leaves a lone carriage return bare."""
    return ",".join(map(_quoted, cells)) + "\n"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def _physical_lines(text: str) -> list[str]:
    """Lines with their ends, broken at newlines only: names may hold other characters that break lines."""
    return [line + "\n" for line in text.split("\n")[:-1]] if text.endswith("\n") else text.split("\n")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"this file of the run cannot be used: {reason}",
        printable(str(path)),
        "restore it from a backup, or start anew with --overwrite",
    )
