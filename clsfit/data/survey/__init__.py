"""What is to be known about a labelled data set before it is trained on: one pass over its pictures. No torch here.

:mod:`.looks` reads each picture once, :mod:`.memory` remembers what was seen, :mod:`.duplicates` compares,
:mod:`.report` puts it into words and :mod:`.page` into pictures. Nothing of the data set is ever written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clsfit.data.survey import duplicates, looks, memory
from clsfit.data.survey.duplicates import Duplicate
from clsfit.data.survey.looks import Looks
from clsfit.data.survey.memory import Memory
from clsfit.data.table import SampleTable
from clsfit.data.threads import Progress
from clsfit.errors import ClsfitError


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found.

    Attributes:
        table: one row per picture, as the data set has them.
        splits: N texts: what each picture is for, as far as the data set says so; see :func:`own_splits`.
        looks: [N], a record per picture.
        unreadable: row -> reason, ascending.
        duplicates: by rows, ascending.
        notes: the source's own lines on what is there and is not used.
    """

    table: SampleTable
    splits: tuple[str, ...]
    looks: Looks
    unreadable: dict[int, str]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...]

    @property
    def leaks(self) -> tuple[Duplicate, ...]:
        """Those of ``duplicates`` that are in two splits."""
        return tuple(pair for pair in self.duplicates if pair.across_splits)

    @property
    def conflicts(self) -> tuple[Duplicate, ...]:
        """Those of ``duplicates`` that have two labels."""
        return tuple(pair for pair in self.duplicates if pair.across_labels)


def survey(
    source: Any, place: str, workers: int, progress: Progress | None = None, table: SampleTable | None = None
) -> Survey:
    """Reads and decodes every picture, and compares them all.

    What was seen of a picture is remembered in the cache directory, by its path, size and time; so an unchanged
    picture is not read again, not even after an interruption. A cache that is damaged, or cannot be written, is as
    none.

    Args:
        source: a :class:`clsfit.contracts.Dataset`; one with ``stamp(rows)`` is remembered.
        place: where the data set is: what its memory is found by.
        workers: threads that read; 0 reads in the caller's.
        progress: told how many more pictures are done.
        table: of ``source``, perhaps with other splits; None: as it is.

    Raises:
        ResourceError: the system has no handle or memory left.
    """
    table = source.table() if table is None else table
    before = memory.load(source, place)
    seen, reasons = before.looks.copy(), dict(before.reasons)
    try:
        lost = looks.look_at(source, seen, reasons, workers, progress)
    except (KeyboardInterrupt, ClsfitError):  # an hour's work may be in it
        memory.keep(source, place, Memory(seen, reasons, before.judged))
        raise
    pairs = before.pairs
    if pairs is None or (seen["verdict"] != before.looks["verdict"]).any():
        judged = dict(before.judged)
        pairs = duplicates.find(source, seen, judged, workers)
        memory.keep(source, place, Memory(seen, reasons, judged, pairs))
    splits = own_splits(table)
    found = duplicates.described(pairs, table, splits)
    unreadable = dict(sorted((reasons | lost).items()))
    return Survey(table, splits, seen, unreadable, found, tuple(getattr(source, "notes", ())))


def own_splits(table: SampleTable) -> tuple[str, ...]:
    """N texts, ``train``, ``val`` or ``test``, or empty where no picture has one.

    Beside pictures that have one, those without are trained on.
    """
    return tuple(split or "train" for split in table.splits) if any(table.splits) else table.splits


def counts(table: SampleTable) -> dict[str, int]:
    """Class name -> its pictures in all splits, the unreadable ones too."""
    found = np.bincount(table.targets[table.targets >= 0], minlength=len(table.classes))
    return dict(zip(table.classes, found.tolist(), strict=True))
