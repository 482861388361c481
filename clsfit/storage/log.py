"""Logs that grow by whole lines, and can be cut back to where a checkpoint was taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clsfit.storage import durable
from clsfit.storage.jsontext import to_json

_BLOCK = 1 << 16


class Log:
    """What the two kinds of logs share.

    The file is opened, and made, with the first line. A last line without its end, torn by a kill or a
    full disk, is cut off then. Lines are with the system when an append returns, on the disk only
    after :meth:`sync`. Safe for several threads: a run and what saves it beside write the same log.

    Args:
        path: the file; it must not be a symbolic link.
        failpoint: what its failpoints are named after.
    """

    def __init__(self, path: Path, failpoint: str = "log") -> None:
        self.path, self.failpoint = path, failpoint
        self._opened: int | None = None
        self._name_synced = False
        self._guard = threading.RLock()

    @property
    def length(self) -> int:
        """Bytes in the log, all of them whole lines.

        Raises:
            ResourceError: it cannot be opened.
        """
        with self._guard, durable.resource_errors(self.path):
            return os.fstat(self._handle()).st_size

    def sync(self) -> int:
        """Makes every line so far survive a power cut; returns :attr:`length`.

        Raises:
            ResourceError: the disk failed.
        """
        with durable.resource_errors(self.path):
            handle = self._handle()
            durable.failpoint(f"{self.failpoint}:fsync")
            durable.sync(handle)
            if not self._name_synced:
                durable.sync_directory(self.path.parent)
                self._name_synced = True
            return os.fstat(handle).st_size

    def truncate(self, length: int) -> int:
        """Cuts the log back to its first ``length`` bytes, durably.

        Args:
            length: what :meth:`sync` returned at some time.

        Returns:
            How many bytes are missing: 0, unless somebody has shortened the file since.

        Raises:
            ResourceError: the disk failed.
        """
        with self._guard, durable.resource_errors(self.path):
            handle = self._handle()
            size = os.fstat(handle).st_size
            if size > length:
                durable.failpoint(f"{self.failpoint}:truncate")
                os.ftruncate(handle, length)
                _cut_torn_line(handle)
            self.sync()
            return max(length - size, 0)

    def close(self) -> None:
        """Closes the file; the next append opens it again."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def _add(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._guard, durable.resource_errors(self.path, len(data)):
            handle = self._handle()
            before = os.fstat(handle).st_size
            try:
                durable.failpoint(f"{self.failpoint}:write")
                durable.write_all(handle, data)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, before)
                raise

    def _handle(self) -> int:
        with self._guard:
            if self._opened is None:
                self._opened = durable.open_log(self.path)
                _cut_torn_line(self._opened)
            return self._opened


class AppendLog(Log):
    """A log of text lines."""

    def append(self, line: str) -> None:
        """Adds ``line``, given without its end.

        Raises:
            ResourceError: it cannot be written; the log is as before.
        """
        self._add(line)


class JsonLog(Log):
    """A log of JSON objects, one a line."""

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds ``row``, NaN and infinities in it as null.

        Raises:
            ResourceError: it cannot be written; the log is as before.
        """
        self._add(to_json(row))


def _cut_torn_line(handle: int) -> None:
    """Cuts off what follows the last line end."""
    size = end = os.fstat(handle).st_size
    while end > 0:
        start = max(end - _BLOCK, 0)
        os.lseek(handle, start, os.SEEK_SET)
        found = os.read(handle, end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
