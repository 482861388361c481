"""Signals that wait for the end of what they must not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

JOB_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""What a terminal or a batch system sends to the processes of a job."""


@contextmanager
def held() -> Iterator[None]:
    """The signals of a job come once the block is left; a process that is started in it starts with them blocked.

    A blocked signal goes to another thread where there is one, and Python would then raise in the main
    thread all the same. So handlers are exchanged too, which Python allows in the main thread only: in
    another thread signals are kept from new processes, and nothing else.
    """
    came: list[int] = []
    handlers: dict[int, Any] = {}
    blocks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if blocks else set()

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    try:
        if blocks:
            signal.pthread_sigmask(signal.SIG_BLOCK, JOB_SIGNALS)
        if threading.current_thread() is threading.main_thread():
            for number in JOB_SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                    handlers[number] = signal.signal(number, note)
        yield
    finally:
        try:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for number in came:
                signal.raise_signal(number)
        finally:
            if blocks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
