"""The clock that stands between a loop and its batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sized
from typing import Protocol, TypeVar

from clsfit.errors import ConfigError
from clsfit.timing.results import Pace

LONGEST = 3600.0
"""Seconds that a measurement may take."""
STRETCHES = 5
_FEWEST = 3  # stretches, where a single step is longer than one
_WARM_BATCHES = 2
_PATIENCE = 5.0  # times the seconds asked for, for all that is not counted


def check_seconds(seconds: float) -> float:
    """``seconds``, if a measurement can take so long.

    Raises:
        ConfigError: it cannot.
    """
    if not 0 < seconds <= LONGEST:
        raise ConfigError(
            f"a measurement cannot take {seconds:g} seconds",
            "option --seconds",
            f"give more than 0, and at most {LONGEST:g}",
        )
    return seconds


class _Batch(Protocol):
    @property
    def rows(self) -> Sized: ...


B = TypeVar("B", bound=_Batch)


class Meter:
    """Notes when batches are asked for, when they come, and when the next one is asked for.

    The time of a batch begins when it is asked for and ends when the loop has done with it. The first
    batches are not counted: they find cold caches, and whatever is made at the first use.

    Args:
        seconds: how long to measure; a stretch is a fifth of it.
        settle: waits until the device has done all that it was told.
        enough: called when ``done`` has become true; the loop may then take one batch more, which is not
            counted.

    Attributes:
        done: whether enough was measured.
        rates: pictures per second, of each stretch.
        total: seconds of all stretches.
        waited: those between a batch's being asked for and its coming.
    """

    def __init__(self, seconds: float, settle: Callable[[], None], enough: Callable[[], None] = lambda: None) -> None:
        self.done = False
        self.enough = enough
        self._seconds, self._settle = seconds, settle
        self._begun: float | None = None
        self._warm: float | None = None  # since when batches are counted
        self._seen = 0
        self._skipped = 0
        self._open: tuple[float, float, int] | None = None
        self.rates: list[float] = []
        self.total = self.waited = 0.0
        self._time = self._waited = 0.0
        self._pictures = 0

    def watched(self, batches: Iterator[B]) -> Iterator[B]:
        """``batches``, noted."""
        while True:
            self.close()
            asked = time.perf_counter()
            if self._begun is None:
                self._begun = asked
            batch = next(batches, None)
            if batch is None:
                return
            self._open = asked, time.perf_counter(), len(batch.rows)
            yield batch

    def skip(self, batches: int) -> None:
        """So many batches to come are not counted: the loop begins anew, and makes things at their first use."""
        self._skipped = batches

    def close(self) -> None:
        """Ends the time of the last batch; to be called where the loop ends, or pauses."""
        if self._open is None or self.done:
            return
        (asked, came, pictures), self._open = self._open, None
        now = time.perf_counter()
        if self._warm is None:
            self._warm_up(now)
            return
        if self._skipped:
            self._skipped -= 1
            if not self._skipped:
                self._settle()
            return
        self._time += now - asked
        self._waited += came - asked
        self._pictures += pictures
        if self._time >= self._seconds / STRETCHES or self._impatient(now):
            self._end_stretch(now)

    def _warm_up(self, now: float) -> None:
        self._seen += 1
        if self._seen >= _WARM_BATCHES and now - (self._begun or 0.0) >= self._seconds / STRETCHES:
            self._settle()
            self._warm = time.perf_counter()

    def _end_stretch(self, now: float) -> None:
        self._settle()
        self._time += time.perf_counter() - now
        self.rates.append(self._pictures / max(self._time, 1e-9))
        self.total, self.waited = self.total + self._time, self.waited + self._waited
        self._time, self._waited, self._pictures = 0.0, 0.0, 0
        enough = self.total >= 0.99 * self._seconds and len(self.rates) >= _FEWEST
        if enough or self._impatient(time.perf_counter()):
            self.done = True
            self.enough()
            self.enough = self._settle = lambda: None  # a meter outlives its run, whose memory others need

    def _impatient(self, now: float) -> bool:
        """Whether too much time went into other things, such as validation between very short epochs."""
        return now - (self._warm or 0.0) - self.total - self._time > _PATIENCE * self._seconds


def pace_of(*meters: Meter) -> Pace:
    """The speed that all of ``meters`` found together; each is done."""
    rates = [rate for meter in meters for rate in meter.rates]
    return Pace(statistics.median(rates), min(rates), max(rates), len(rates))


def waiting_of(*meters: Meter) -> float:
    """The part of their time between a batch's being asked for and its coming, 0 to 1."""
    return sum(meter.waited for meter in meters) / max(sum(meter.total for meter in meters), 1e-9)
