"""Saves beside the training: in order, none lost, the newest of what waits, and a failure is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from clsfit.storage import background
from clsfit.storage.background import Background


@pytest.fixture
def saver() -> Iterator[Background]:
    made = Background()
    yield made
    made.close()


class Gate:
    """A job that begins, says so, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.open.wait(60)


def noting(done: list[str], name: str) -> Callable[[], None]:
    return lambda: done.append(name)


def fails() -> None:
    raise OSError("no space")


def test_jobs_are_done_in_their_order_and_in_another_thread(saver: Background) -> None:
    done: list[str] = []
    threads: list[int] = []
    saver.do(lambda: threads.append(threading.get_ident()))
    for i in range(20):
        (saver.do if i % 3 else lambda job, i=i: saver.replace(f"file {i}", job))(noting(done, str(i)))
    saver.flush()
    assert done == [str(i) for i in range(20)]
    assert threads != [threading.get_ident()]


def test_the_caller_goes_on_while_a_job_is_done(saver: Background) -> None:
    gate, done = Gate(), []
    saver.do(gate)
    assert gate.begun.wait(60)
    saver.do(noting(done, "next"))  # one may wait
    assert done == []
    gate.open.set()
    saver.flush()
    assert done == ["next"]


def test_no_more_than_one_checkpoint_waits(saver: Background) -> None:
    gate, done = Gate(), []
    saver.do(gate)
    assert gate.begun.wait(60)
    saver.do(noting(done, "first"))
    third = threading.Thread(target=lambda: saver.do(noting(done, "second")))
    third.start()
    third.join(0.2)
    assert third.is_alive()  # each holds a copy of the weights: they must not pile up
    gate.open.set()
    third.join(60)
    saver.flush()
    assert done == ["first", "second"]


def test_a_lap_counts_every_job_once(saver: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, laps = [0.0], []
    monkeypatch.setattr(background.time, "monotonic", lambda: clock[0])

    def takes(seconds: float, *, asks: bool = False) -> Callable[[], None]:
        def job() -> None:
            clock[0] += seconds
            if asks:
                laps.append(saver.lap())
            clock[0] += 0.5

        return job

    saver.do(takes(1.0, asks=True))
    for name in ("best", "last"):
        saver.replace(name, takes(3.0))
    saver.do(takes(2.0, asks=True))
    saver.flush()
    assert laps == [1.0, 0.5 + 2 * 3.5 + 2.0]


def test_a_file_that_waits_is_replaced_where_it_stands(saver: Background) -> None:
    gate, done = Gate(), []
    saver.do(gate)
    assert gate.begun.wait(60)
    saver.replace("best", noting(done, "best of epoch 1"))
    saver.do(noting(done, "checkpoint"))
    saver.replace("best", noting(done, "best of epoch 2"))
    saver.replace("last", noting(done, "last"))
    gate.open.set()
    saver.flush()
    # the checkpoint may say that the best is of epoch 1, so no older file may follow it
    assert done == ["best of epoch 2", "checkpoint", "last"]


def test_files_wait_until_the_thread_has_rested(saver: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: clock[0])
    done: list[str] = []

    def slow() -> None:
        clock[0] += 2.0

    saver.replace("best", slow)
    saver.do(noting(done, "checkpoint"))  # waits for what was given before it, and for nothing else
    while not done:
        pass
    saver.replace("best", noting(done, "early"))
    with saver._change:
        assert not saver._change.wait_for(lambda: "early" in done, timeout=0.2)
        clock[0] += background.REST * 2.0
        saver._change.notify_all()
        assert saver._change.wait_for(lambda: "early" in done, timeout=60)


def test_a_checkpoint_waits_for_no_rest(saver: Background, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "REST", 1e9)
    done: list[str] = []
    saver.replace("last", noting(done, "one"))
    saver.replace("best", noting(done, "two"))
    saver.replace("raw", noting(done, "three"))
    saver.do(noting(done, "checkpoint"))
    saver.flush()
    assert done == ["one", "two", "three", "checkpoint"]


@pytest.mark.parametrize("method", ["do", "replace", "flush", "check"])
def test_a_failure_is_raised_by_the_next_call_and_what_follows_is_dropped(saver: Background, method: str) -> None:
    gate, done = Gate(), []
    saver.do(gate)
    assert gate.begun.wait(60)
    saver.replace("best", fails)
    saver.do(noting(done, "checkpoint that says the best is written"))
    gate.open.set()
    with saver._change:
        assert saver._change.wait_for(lambda: saver.failed, timeout=60)
    with pytest.raises(OSError, match="no space"):
        {
            "do": lambda: saver.do(noting(done, "x")),
            "replace": lambda: saver.replace("best", noting(done, "x")),
            "flush": saver.flush,
            "check": saver.check,
        }[method]()
    assert not saver.failed  # told once
    saver.flush()
    assert done == []


def test_close_does_what_waits_and_returns_what_nobody_was_told() -> None:
    saver, done = Background(), []
    gate = Gate()
    saver.do(gate)
    saver.replace("last", noting(done, "last"))
    gate.open.set()
    assert saver.close() is None
    assert done == ["last"]
    saver.do(fails)
    failure = saver.close()
    assert isinstance(failure, OSError)
    assert saver.close() is None
    assert "clsfit-save" not in {thread.name for thread in threading.enumerate()}


def test_a_system_that_starts_no_thread_is_told_and_closing_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    saver, done = Background(), []

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            saver.do(noting(done, "never"))
        assert saver.close() is None
    saver.do(noting(done, "later"))
    saver.flush()
    assert saver.close() is None
    assert done == ["later"]
