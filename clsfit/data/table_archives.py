"""The archives into which a table's paths lead, such as ``photos.zip/cat/1.jpg``: each is opened once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from clsfit.data.archive import Archive, in_archive, open_whole
from clsfit.data.walk import refusal
from clsfit.errors import printable


class Member(NamedTuple):
    """A picture in an archive, and its path there."""

    archive: Archive
    path: str

    def read(self, length: int | None = None) -> bytes:
        """Its bytes; raises as :meth:`clsfit.data.archive.Archive.read`."""
        return self.archive.read(self.path, length)


class Archives:
    """Opens archives as paths lead into them.

    Args:
        table: its name, for messages.
        why_not: why a file may not be used by this table, or an empty text.
    """

    def __init__(self, table: str, why_not: Callable[[str], str]) -> None:
        self._table, self._why_not = table, why_not
        self._opened: dict[str, Archive] = {}
        self._of_folder: dict[str, str] = {}  # the archive in which a folder lies, or nothing

    def member(self, full: str) -> Member | None:
        """What an absolute path stands for that leads into an archive, there or not; None for any other path.

        Raises:
            DataError: the archive cannot be used as a data set.
            OSError: it cannot be looked at.
        """
        folder = full.rpartition(os.sep)[0]
        name = self._of_folder.get(folder)
        if name is None:
            place = in_archive(folder)
            name = self._of_folder[folder] = place[0] if place is not None else ""
        if not name:
            return None
        if name not in self._opened:
            if reason := self._why_not(name):
                raise refusal(f"the table {printable(self._table)}", [(name, reason)])
            self._opened[name] = open_whole(name)
        return Member(self._opened[name], full[len(name) + 1 :].replace(os.sep, "/"))
