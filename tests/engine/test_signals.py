"""The handlers of a run are put back, whatever happens."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsfit.engine import signals

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def run() -> Any:
    return SimpleNamespace(interrupt=0, reporter=SimpleNamespace(verbosity=0))


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in NUMBERS]


def test_they_are_put_back_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = handlers()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"), signals.interruptible(run()):
        raise AssertionError("the block was entered")
    assert handlers() == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_nothing_is_left_of_many_runs() -> None:
    before, opened = handlers(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with signals.interruptible(run()):
            assert handlers() != before
            [counting] = [thread for thread in threading.enumerate() if thread.name == "clsfit-signals"]
        counting.join(60)
    assert handlers() == before
    assert len(os.listdir("/proc/self/fd")) == opened
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, changed = signal.getsignal, []
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else plain(number))
    set_ = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: changed.append(number) or set_(number, handler))
    with signals.interruptible(run()):
        pass
    assert signal.SIGINT in changed
    assert signal.SIGTERM not in changed
