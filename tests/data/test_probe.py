"""Threads or processes: who is measured when, who goes on, and that nobody can tell from the pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data import probe
from clsfit.data.canvases import build
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.probe import Probe
from clsfit.data.processes import Decoders
from clsfit.data.sources import FolderSource
from clsfit.errors import ResourceError

PREPARE = Prepare(3, 12)


class Processes:
    """In place of :class:`Decoders`: notes that it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Clock:
    """Decoding moves its hands, and nothing else does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        self.asked: list[str] = []
        monkeypatch.setattr("clsfit.data.probe.time.perf_counter", lambda: self.now)

    def decoder(self, name: str, seconds: float, error: Exception | None = None) -> Callable[[int], Any]:
        def decode(row: int) -> Any:
            self.asked.append(name)
            self.now += seconds
            if error is not None:
                raise error
            return row

        return decode


def names(clock: Clock, made: Probe, rows: int) -> list[str]:
    for row in range(rows):
        with contextlib.suppress(PictureError):
            assert made(row) == row
    asked, clock.asked = clock.asked, []
    return asked


@pytest.mark.parametrize(("there", "gain"), [(0.05, 2.0), (0.1, None), (0.2, None), (0.0909, 1.1), (0.0921, None)])
def test_the_faster_one_goes_on(monkeypatch: pytest.MonkeyPatch, there: float, gain: float | None) -> None:
    clock, processes = Clock(monkeypatch), Processes()
    made = Probe(clock.decoder("here", 0.1), clock.decoder("there", there), processes, None)  # type: ignore[arg-type]
    asked = names(clock, made, 60)
    first = asked.index("there")
    assert 10 <= first <= 11, "a second of threads"
    measured = asked[first:].index("here") if gain is None else None
    assert measured is None or probe.SECONDS <= measured * there <= probe.SECONDS + 2 * there, "a second of processes"
    assert set(names(clock, made, 60)) == {"here" if gain is None else "there"}
    assert (made.gain and round(made.gain, 1)) == gain
    assert processes.closed == (gain is None)


def test_unreadable_pictures_count_as_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, bad = Clock(monkeypatch), PictureError("truncated")
    here, there = clock.decoder("here", 0.1, bad), clock.decoder("there", 0.05, bad)
    made = Probe(here, there, Processes(), None)  # type: ignore[arg-type]
    names(clock, made, 60)
    assert set(names(clock, made, 10)) == {"there"}


def test_processes_that_die_while_they_are_tried_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, processes = Clock(monkeypatch), Processes()
    here, there = clock.decoder("here", 0.1), clock.decoder("there", 0.01, ResourceError("a worker was killed"))
    made = Probe(here, there, processes, None)  # type: ignore[arg-type]
    assert names(clock, made, 30).count("there") == 1
    assert (made.gain, processes.closed) == (None, 1)


def test_processes_that_die_later_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    dies = False

    def there(row: int) -> Any:
        if dies:
            raise ResourceError("a worker was killed")
        clock.now += 0.01
        return row

    made = Probe(clock.decoder("here", 0.1), there, Processes(), None)  # type: ignore[arg-type]
    names(clock, made, 200)
    assert made.gain
    dies = True
    with pytest.raises(ResourceError, match="killed"):
        made(0)


def test_little_work_starts_nobody(mixed: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsfit.data.processes.Decoders._start", lambda *_: pytest.fail("processes were started"))
    rows = np.arange(40)
    with Decoders("auto", 2) as decoders:
        assert decoders.start(mixed, PREPARE, rows)(3).tobytes() == PREPARE(mixed.read(3)).tobytes()
    monkeypatch.setattr(probe, "WORTH", 0.0)
    for few, workers in ((rows, 1), (rows, 0), (None, 2)):  # one thread waits for nobody
        with Decoders("auto", workers) as decoders:
            decoders.start(mixed, PREPARE, few)


def test_the_estimate_is_of_all_rows_by_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for error in (None, PictureError("truncated"), FileNotFoundError("gone")):
        decode = clock.decoder("here", 0.1, error)
        for count in (1, 5, 8, 100, 999):
            assert probe.seconds(decode, np.arange(count), 4) == pytest.approx(count * 0.1 / 4)
    assert len(set(clock.asked)) == 1
    assert probe.seconds(decode, np.arange(0), 4) == 0


@pytest.mark.parametrize("margin", [0.0, float("inf")])
@pytest.mark.parametrize("cache", ["memory", "off"])
def test_whoever_decodes_the_pixels_are_the_same(
    mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch, margin: float, cache: str
) -> None:
    for name, value in (("WORTH", 0.0), ("SECONDS", 1e-9), ("MARGIN", margin)):
        monkeypatch.setattr(probe, name, value)
    with Decoders("auto", 2) as decoders:
        made, bad = build(
            mixed,
            np.arange(40),
            PREPARE,
            cache=cache,
            workers=2,
            skip_bad=False,
            cache_dir=store,
            decoders=decoders,
        )
        assert bad == {}
        for row in range(40):
            assert made.get(row).tobytes() == PREPARE(mixed.read(row)).tobytes()
        found = decoders._probe
        assert found is not None
        assert (found.gain is None) == bool(margin)
        assert bool(found.processes._team) == (cache == "off" and not margin)
    assert found.processes._team == []
    assert made.decoded_by.startswith("" if margin else "2 processes (spawn), ")
    assert made.decoded_by.endswith("" if margin else " times as fast as threads")


def test_where_processes_cannot_be_started(mixed: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Decoders, prepare: Prepare) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(probe, "WORTH", 0.0)
    monkeypatch.setattr(Decoders, "_start", refuse)
    with Decoders("auto", 2) as decoders:
        assert decoders.start(mixed, PREPARE, np.arange(40))(3).tobytes() == PREPARE(mixed.read(3)).tobytes()
        assert decoders.description == ""
