"""Ctrl-C, SIGTERM and a closed terminal: the step is finished, everything is saved, the run can be resumed.

SIGUSR1 saves and goes on; batch systems can send it some time before they end a job.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from clsfit.errors import ExitCode, InterruptedRunError, TerminatedRunError

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_LEAVE = {
    getattr(signal, name): code
    for name, code in (
        ("SIGINT", ExitCode.INTERRUPTED),
        ("SIGTERM", ExitCode.TERMINATED),
        ("SIGHUP", ExitCode.TERMINATED),
    )
    if hasattr(signal, name)
}
"""The signals that end a run, and its exit code."""

_SAVE = getattr(signal, "SIGUSR1", None)


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Turns the first signal into ``run.interrupt``; a second one ends the process at once.

    Outside the main thread, where Python hands out no signals, nothing is changed. A signal that is
    ignored, as ``nohup`` makes SIGHUP, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}
    impatience = _Impatience()

    def leave(number: int, frame: FrameType | None) -> None:
        if not run.interrupt:
            run.interrupt = number
            impatience.arm()

    def save(number: int, frame: FrameType | None) -> None:
        run.save_checkpoint()

    for number in _LEAVE:
        if signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, leave)
    if _SAVE is not None:
        previous[_SAVE] = signal.signal(_SAVE, save)
    try:
        yield
    finally:
        impatience.disarm()
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Impatience:
    """Ends the process as soon as a further signal comes.

    Python's own handlers wait until the main thread is back from C code, which may be the middle of a
    long step. The number of a signal that is written to a file descriptor wakes a thread instead. Files
    are written whole or not at all, so none is torn.
    """

    def __init__(self) -> None:
        self._pipe: tuple[int, int] | None = None
        self._previous = -1

    def arm(self) -> None:
        """From now on a further signal ends the process; fine to call in a signal handler."""
        try:
            reader, writer = os.pipe()
        except OSError:  # no descriptor is left: then the first signal has to do
            return
        os.set_blocking(writer, False)
        self._pipe = reader, writer
        self._previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=_leave_at_once, args=(reader,), name="clsfit-signals", daemon=True).start()

    def disarm(self) -> None:
        """Puts everything back; the thread ends."""
        if self._pipe is not None:
            signal.set_wakeup_fd(self._previous)
            os.close(self._pipe[1])
            self._pipe = None


def _leave_at_once(reader: int) -> None:
    while number := os.read(reader, 1):
        if number[0] in _LEAVE:
            os.write(2, b"clsfit: left at once\n  go on by the same command with --resume\n")
            os._exit(_LEAVE[number[0]])
    os.close(reader)


def leave_if_interrupted(run: Run) -> None:
    """Saves and raises, if a signal has come."""
    if not run.interrupt:
        return
    run.save_now()
    run.saver.flush()
    where = f"saved at step {run.step} in {run.directory.path}" if run.directory is not None else ""
    remedy = "go on by the same command with --resume" if run.directory is not None else ""
    if run.interrupt == signal.SIGINT:
        raise InterruptedRunError("interrupted", where, remedy)
    raise TerminatedRunError("terminated", where, remedy)
