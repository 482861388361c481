"""As many of a data set's pictures as can be decoded in the time that a measurement may take."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.config import Settings
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.table import SampleTable
from clsfit.data.threads import workers_of

_PROBE_SECONDS = 0.3
_PROBE = 256  # pictures
_BATCHES = 30  # so that the begin of an epoch counts as little as in a long one
_PER_CLASS = 20


class Sample:
    """Some pictures of a data set, as a data set: a :class:`clsfit.contracts.Dataset`.

    It has no ``stamp``, so that nothing of it is found in the cache, or kept there.

    Args:
        source: the data set.
        rows: [M] int64, rows of its table.
        table: the data set's, perhaps with other splits; None: as it is.
    """

    def __init__(self, source: Any, rows: npt.NDArray[np.int64], table: SampleTable | None = None) -> None:
        self._source, self._rows = source, rows
        self._table: SampleTable = (source.table() if table is None else table).select(rows)
        sizes = getattr(source, "sizes_bytes", None)
        self.sizes_bytes = None if sizes is None else np.asarray(sizes)[rows]
        absent = getattr(source, "absent", {})
        self.absent = {place: absent[row] for place, row in enumerate(rows.tolist()) if row in absent}
        if hasattr(source, "head"):
            self.head = self._head

    def table(self) -> SampleTable:
        """One row per picture."""
        return self._table

    def read(self, row: int) -> Any:
        """Picture ``row``, as the data set gives it."""
        return self._source.read(int(self._rows[row]))

    def without(self, paths: Collection[str]) -> Sample:
        """The sample less the pictures that ``paths`` name."""
        left_out = set(paths)
        kept = [row for row, path in enumerate(self._table.paths) if path not in left_out]
        return Sample(self, np.array(kept, dtype=np.int64))

    def _head(self, row: int, length: int) -> Any:
        return self._source.head(int(self._rows[row]), length)


def sample(source: Any, settings: Settings, seconds: float, table: SampleTable | None = None) -> Sample:
    """Pictures of ``source``, evenly spaced, which can be decoded in about ``seconds``; all where they are few.

    Args:
        source: a :class:`clsfit.contracts.Dataset`.
        settings: the run's.
        seconds: for one decoding of them all, with the run's workers.
        table: of ``source``, perhaps with other splits; None: as it is.
    """
    table = source.table() if table is None else table
    number = len(table)
    needed = math.ceil(_BATCHES * settings.batch_size / (1 - settings.val_fraction))
    wanted = max(needed, _PER_CLASS * len(table.classes))
    if number > wanted:
        wanted = max(wanted, int(_decoded_per_second(source, number) * max(workers_of(settings.workers), 1) * seconds))
    return Sample(source, _spaced(number, wanted), table)


def _decoded_per_second(source: Any, number: int) -> float:
    """By one thread, roughly."""
    prepare, done, started = Prepare(3), 0, time.perf_counter()
    for row in _spaced(number, _PROBE).tolist():
        try:
            prepare(source.read(row))
        except (PictureError, OSError):  # whoever uses the picture will say so
            continue
        done += 1
        if time.perf_counter() - started > _PROBE_SECONDS:
            break
    return done / (time.perf_counter() - started)


def _spaced(number: int, wanted: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, number - 1, min(number, wanted)).astype(np.int64))
