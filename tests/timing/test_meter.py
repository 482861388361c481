"""What the meter counts, by a clock that the test moves."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from clsfit.timing.meter import STRETCHES, Meter, pace_of, waiting_of


@dataclass
class Batch:
    rows: range


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("clsfit.timing.meter.time", made)
    return made


def batches(clock: Clock, waits: Callable[[int], float], count: int = 10_000) -> Iterator[Any]:
    for k in range(count):
        clock.now += waits(k)
        yield Batch(range(8))


def consume(meter: Meter, clock: Clock, source: Iterator[Any], steps: Callable[[int], float]) -> int:
    for k, _ in enumerate(meter.watched(source)):
        if meter.done:
            return k
        clock.now += steps(k)
    meter.close()
    return -1


def test_rate_and_waiting(clock: Clock) -> None:
    meter = Meter(100, lambda: None)
    consume(meter, clock, batches(clock, lambda k: 1), lambda k: 3)
    assert pace_of(meter).rate == pace_of(meter).low == pace_of(meter).high == 2  # 8 pictures in 4 seconds
    assert pace_of(meter).stretches == STRETCHES
    assert waiting_of(meter) == 0.25


def test_the_first_batches_do_not_count(clock: Clock) -> None:
    meter = Meter(100, lambda: None)
    consume(meter, clock, batches(clock, lambda k: 500 if k < 2 else 0), lambda k: 700 if k < 2 else 4)
    assert (pace_of(meter).low, waiting_of(meter)) == (2, 0)


def test_the_middle_of_the_stretches(clock: Clock) -> None:
    meter = Meter(50, lambda: None)
    speeds = iter([1.0, 1.0, 1.0, 1.0, 2.0])  # of batches as long as a stretch, after ten that do not count
    consume(meter, clock, batches(clock, lambda k: 0), lambda k: 1 if k < 10 else 10 * next(speeds))
    pace = pace_of(meter)
    assert (pace.rate, pace.low, pace.high) == (0.8, 0.4, 0.8)


def test_what_lies_between_two_passes_does_not_count(clock: Clock) -> None:
    meter = Meter(100, lambda: None)
    while not meter.done:
        consume(meter, clock, batches(clock, lambda k: 1, count=5), lambda k: 3)
        clock.now += 7  # a validation
    assert (pace_of(meter).rate, waiting_of(meter)) == (2, 0.25)


def test_the_last_step_of_a_pass_counts(clock: Clock) -> None:
    meter = Meter(100, lambda: None)
    while not meter.done:
        consume(meter, clock, batches(clock, lambda k: 0, count=2), lambda k: 2 if k == 0 else 6)
    assert pace_of(meter).rate == 2


def test_enough_is_said_once_and_one_batch_more_is_given(clock: Clock) -> None:
    said: list[int] = []
    meter = Meter(100, lambda: None, lambda: said.append(1))
    taken = 0
    for _ in meter.watched(batches(clock, lambda k: 0)):
        taken += 1
        clock.now += 4
        if said:
            break
    meter.close()
    assert (said, meter.done) == ([1], True)
    assert pace_of(meter).rate == 2
    assert taken == 31  # 20 seconds of warming up and 100 that count, in steps of 4; and one more


def test_steps_longer_than_all_stretches(clock: Clock) -> None:
    meter = Meter(1, lambda: None)
    taken = consume(meter, clock, batches(clock, lambda k: 0), lambda k: 40)
    assert (pace_of(meter).rate, pace_of(meter).stretches, taken) == (0.2, 3, 5)


def test_a_loop_that_does_little_of_what_is_measured_ends(clock: Clock) -> None:
    meter = Meter(10, lambda: None)
    passes = 0
    while not meter.done:
        consume(meter, clock, batches(clock, lambda k: 0, count=4), lambda k: 0.01)
        clock.now += 5
        passes += 1
    assert passes < 20
    assert pace_of(meter).rate == pytest.approx(800)


def test_a_loop_that_begins_anew_leaves_batches_out(clock: Clock) -> None:
    settled: list[float] = []
    meter = Meter(100, lambda: settled.append(clock.now))
    for run in range(10):
        slow = 3 if run else 0
        if run:
            meter.skip(slow)
        waits = len(settled)
        consume(meter, clock, batches(clock, lambda k: 1, count=10), lambda k, slow=slow: 700 if k < slow else 3)
        assert meter.done or not run or len(settled) > waits  # what those batches left to be done does not count
    assert meter.done
    assert (pace_of(meter).low, pace_of(meter).high, waiting_of(meter)) == (2, 2, 0.25)


def test_a_meter_lets_go_of_what_it_called(clock: Clock) -> None:
    class Run:
        def stop(self) -> None:
            pass

        settle = stop

    run = Run()
    gone = weakref.ref(run)
    meter = Meter(100, run.settle, run.stop)
    consume(meter, clock, batches(clock, lambda k: 1), lambda k: 3)
    assert meter.done
    del run
    assert gone() is None


def test_the_device_is_waited_for_in_each_stretch(clock: Clock) -> None:
    def settle() -> None:
        clock.now += 20

    meter = Meter(100, settle)
    consume(meter, clock, batches(clock, lambda k: 0), lambda k: 4)
    assert pace_of(meter).high == pytest.approx(5 * 8 / 40)  # five steps of 4 seconds, and what was still to be done


def test_meters_together(clock: Clock) -> None:
    meters = []
    for step in (3, 3, 7):
        meters.append(Meter(100, lambda: None))
        consume(meters[-1], clock, batches(clock, lambda k: 1), lambda k, step=step: step)
    pace = pace_of(*meters)
    assert (pace.rate, pace.low, pace.high, pace.stretches) == (2, 1, 2, 3 * STRETCHES)
    assert waiting_of(*meters) == pytest.approx((25 + 25 + 100 / 8) / 300, rel=0.1)
