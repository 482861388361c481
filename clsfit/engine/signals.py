"""Ctrl-C, SIGTERM and a closed terminal: the step is finished, everything is saved, the run can be resumed.

SIGUSR1 saves and goes on; batch systems can send it some time before they end a job.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from clsfit.errors import ExitCode, InterruptedRunError, TerminatedRunError

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_LEAVE = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
"""The signals that end a run."""

_SAVE = getattr(signal, "SIGUSR1", None)
_HEARD = "clsfit: stopping after this step, then saving; Ctrl-C again leaves at once"
_TWICE = 0.3  # seconds within which two signals are one that was sent twice


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Turns the first signal into ``run.interrupt``; a Ctrl-C after it ends the process at once.

    Outside the main thread, where Python hands out no signals, nothing is changed. A signal that is
    ignored, as ``nohup`` makes SIGHUP, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}
    impatience = _Impatience(told=run.reporter.verbosity > 0 and sys.stderr.isatty())

    def leave(number: int, frame: FrameType | None) -> None:
        run.interrupt = run.interrupt or number

    def save(number: int, frame: FrameType | None) -> None:
        run.save_told = True

    try:
        for number in _LEAVE:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                previous[number] = signal.signal(number, leave)
        if _SAVE is not None and signal.getsignal(_SAVE) is not None:
            previous[_SAVE] = signal.signal(_SAVE, save)
        impatience.arm()
        yield
    finally:
        impatience.disarm()
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Impatience:
    """Ends the process at a Ctrl-C that follows another signal.

    Python's own handlers wait until the main thread is back from C code, which may be the middle of a
    long step. The system writes the number of each signal to a pipe meanwhile, which a thread reads.
    Files are written whole or not at all, so none is torn.

    A SIGTERM never counts as the second one, and a SIGINT only after a moment: programs that start others
    (``timeout``, batch systems) often send a signal to a process and to its group, which is twice.

    Args:
        told: whether to say on standard error that the first Ctrl-C was heard.
    """

    def __init__(self, told: bool = False) -> None:
        self._told = told
        self._writer: int | None = None
        self._previous = -1

    def arm(self) -> None:
        """Begins to count."""
        try:
            reader, self._writer = os.pipe()
        except OSError:  # no descriptor is left: then the first signal has to do
            return
        try:
            threading.Thread(target=_count, args=(reader, self._told), name="clsfit-signals", daemon=True).start()
        except BaseException:
            os.close(reader)
            os.close(self._writer)
            self._writer = None
            raise
        os.set_blocking(self._writer, False)
        self._previous = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def disarm(self) -> None:
        """Puts everything back; the thread ends."""
        if self._writer is not None:
            signal.set_wakeup_fd(self._previous)
            os.close(self._writer)
            self._writer = None


def _count(reader: int, told: bool) -> None:
    """Reads signals' numbers, one byte each, until the pipe's other end is closed."""
    first: float | None = None
    while number := os.read(reader, 1):
        now = time.monotonic()
        if first is None:
            first = now if number[0] in _LEAVE else None
            if told and number[0] == signal.SIGINT:
                with suppress(OSError):  # the terminal may have been closed
                    os.write(2, _over_the_bar(_HEARD))
        elif number[0] == signal.SIGINT and now - first > _TWICE:
            os.write(2, b"clsfit: left at once\n  go on by the same command with --resume\n")
            os._exit(ExitCode.INTERRUPTED)
    os.close(reader)


def _over_the_bar(line: str) -> bytes:
    """``line`` in place of the bar that may stand on the terminal's line; not by the main thread, which is busy."""
    return f"\r{line.ljust(shutil.get_terminal_size().columns - 1)}\n".encode()


def leave_if_interrupted(run: Run) -> None:
    """Saves and raises, if a signal has come and every rank knows of it."""
    if not run.leaving:
        return
    run.save_now()
    run.saver.flush()
    run.ranks.meet()  # none is done before rank 0 has saved
    where = f"saved at step {run.step} in {run.directory.path}" if run.directory is not None else ""
    remedy = "go on by the same command with --resume" if run.directory is not None else ""
    interrupted = run.leaving == signal.SIGINT
    kind, what = (InterruptedRunError, "interrupted") if interrupted else (TerminatedRunError, "terminated")
    error = kind(what, where, remedy)
    error.shared = True
    raise error
