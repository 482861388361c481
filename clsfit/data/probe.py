"""Threads or processes? Both decode for a second, of the pictures that have to be decoded anyway.

Threads nearly always do: a decoder spends most of its time outside the interpreter's lock. Where many threads wait for
that lock, processes may be faster, at the price of sending bytes and pixels. The pixels are the same, so a timing may
choose.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clsfit.data.decode import PictureError
from clsfit.errors import ResourceError

if TYPE_CHECKING:
    from clsfit.data.child import Canvas
    from clsfit.data.processes import Decode, Decoders

SECONDS = 1.0
"""How long each of the two is measured."""

WORTH = 60.0
"""Seconds of decoding by threads, below which processes are not even started."""

MARGIN = 1.1
"""How many times as fast as threads processes have to be."""

_TRIED = 8  # pictures that tell how long all will take


def seconds(decode: Decode, rows: npt.NDArray[np.int64], workers: int) -> float:
    """About how long ``workers`` threads decode ``rows``: by a few of them, in this thread."""
    tried = rows[:: max(1, len(rows) // _TRIED)].tolist()
    started = time.perf_counter()
    for row in tried:
        with suppress(PictureError, OSError):
            decode(row)
    return (time.perf_counter() - started) * len(rows) / max(1, len(tried) * workers)


class Probe:
    """Decodes in threads, then in processes, then by the faster of the two. Safe for several threads.

    Args:
        here: decodes in the thread that asks.
        there: decodes in one of ``processes``.
        processes: closed here if they are not the faster.
        source: whose pictures they are.

    Attributes:
        gain: how many times as fast as threads the processes are; None: they are not used, or that is not known yet.
    """

    def __init__(self, here: Decode, there: Decode, processes: Decoders, source: Any) -> None:
        self._here, self._there, self.processes, self.source = here, there, processes, source
        self.gain: float | None = None
        self._decode, self._over = here, False
        self._lock = threading.Lock()
        self._inside = 0  # pictures that are being decoded by processes
        self._alone = 0.0  # pictures per second by threads
        self._begun, self._done = 0.0, 0

    def __call__(self, row: int) -> Canvas:
        """The canvas of a row; raises as ``here`` and ``there`` do."""
        if self._over and self._inside == 0:
            return self._decode(row)
        with self._lock:
            self._begun = self._begun or time.perf_counter()
            decode = self._decode
            self._inside += decode is self._there
        try:
            return decode(row)
        except ResourceError:
            if decode is self._here or self.gain is not None:
                raise
            with self._lock:  # they do not work here, and nobody has asked for them
                self._decode, self._over = self._here, True
            return self._here(row)
        finally:
            with self._lock:
                self._inside -= decode is self._there
                self._count(decode)
                unused = self._over and self.gain is None and self._inside == 0
            if unused:
                self.processes.close()

    def _count(self, decode: Decode) -> None:
        if self._over or decode is not self._decode:
            return
        self._done += 1
        taken = time.perf_counter() - self._begun
        if taken < SECONDS:
            return
        if decode is self._here:
            self._alone = self._done / taken
            self._decode = self._there
        else:
            gain = self._done / taken / self._alone
            self.gain = gain if gain >= MARGIN else None
            self._decode, self._over = (self._there if self.gain else self._here), True
        self._begun, self._done = 0.0, 0
