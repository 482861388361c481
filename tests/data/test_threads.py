"""One job over many rows."""

from __future__ import annotations

import threading

import pytest

from clsfit.data import threads
from clsfit.data.threads import over_rows, usable_cores, workers_of


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


@pytest.mark.parametrize(
    ("cores", "local", "expected"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (8, 9, 1), (96, 2, 48)]
)
def test_ranks_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, cores: int, local: int, expected: int
) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (usable_cores(), workers_of(None)) == (cores, min(8, cores))
    for name, value in {"WORLD_SIZE": 2 * local, "RANK": 0, "LOCAL_WORLD_SIZE": local, "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    assert (usable_cores(), workers_of(None)) == (expected, min(8, expected))
    assert [workers_of(count) for count in (0, 5)] == [0, 5]
