"""Ctrl-C and SIGTERM: the step is finished, everything is saved, the run can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from clsfit.errors import InterruptedRunError, TerminatedRunError

if TYPE_CHECKING:
    from clsfit.engine.run import Run


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Turns the first signal into ``run.interrupt``; a second one acts at once.

    Outside the main thread, where Python hands out no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        run.interrupt = number
        restore()

    def restore() -> None:
        for known, handler in previous.items():
            signal.signal(known, handler)

    for known in (signal.SIGINT, signal.SIGTERM):
        previous[known] = signal.signal(known, note)
    try:
        yield
    finally:
        restore()


def leave_if_interrupted(run: Run) -> None:
    """Saves and raises, if a signal has come."""
    if not run.interrupt:
        return
    run.save_now()
    where = f"saved at step {run.step} in {run.directory.path}" if run.directory is not None else ""
    remedy = "go on by the same command with --resume" if run.directory is not None else ""
    if run.interrupt == signal.SIGTERM:
        raise TerminatedRunError("terminated", where, remedy)
    raise InterruptedRunError("interrupted", where, remedy)
