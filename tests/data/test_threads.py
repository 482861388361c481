"""One job over many rows."""

from __future__ import annotations

import threading

import pytest

from clsfit.data.threads import over_rows


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("total", [0, 1, 7, 64])
def test_every_row_once_and_progress_adds_up(workers: int, total: int) -> None:
    seen: list[int] = []
    told: list[int] = []
    over_rows(
        lambda start, stop: seen.extend(range(start, stop)), total, chunk=5, workers=workers, progress=told.append
    )
    assert sorted(seen) == list(range(total))
    assert sum(told) == total


@pytest.mark.parametrize("workers", [0, 3])
def test_the_first_failure_is_raised_and_ends_the_threads(workers: int) -> None:
    before = threading.active_count()

    def work(start: int, stop: int) -> None:
        if start == 10:
            raise ZeroDivisionError("at 10")

    with pytest.raises(ZeroDivisionError, match="at 10"):
        over_rows(work, 10_000, chunk=1, workers=workers)
    assert threading.active_count() == before


def test_workers_work_beside_each_other() -> None:
    meeting = threading.Barrier(2, timeout=20)  # passes only if two pieces are under way at once
    over_rows(lambda start, stop: meeting.wait() and None, 2, chunk=1, workers=2)
    assert not meeting.broken
