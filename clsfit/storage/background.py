"""Writing beside the training: jobs in one thread, in their order, and so seldom that they cost little."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Job = Callable[[], None]

REST = 250
"""What may wait, waits for so many times the duration of the last job, or for a checkpoint behind it."""


@dataclass
class _Waiting:
    """A job; one with a name may wait, and may be replaced by a later one of that name."""

    job: Job
    name: str = ""


class Background:
    """Does jobs in a thread of its own, which starts with the first one.

    Order is kept: a job is done after all that were given before it. So a checkpoint that says which
    epoch is the best is written after that epoch's model file.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._busy = self._hurried = self._closing = False
        self._rested_at = self._began = self._worked = self._told = 0.0
        self._failure: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether a job has failed, which the next call of any method but :meth:`close` raises."""
        return self._failure is not None

    def check(self) -> None:
        """Raises what a job has failed by."""
        with self._change:
            self._raise()

    def do(self, job: Job) -> None:
        """Does ``job`` as soon as what was given before is done; waits while another one of this kind waits.

        Raises:
            BaseException: what an earlier job failed by; ``job`` is not done then (so for every method).
        """
        with self._change:
            self._change.wait_for(lambda: self.failed or all(waiting.name for waiting in self._waiting))
            self._add(_Waiting(job))

    def replace(self, name: str, job: Job) -> None:
        """Does ``job`` when the thread has rested; until then it takes the place of an earlier one of ``name``."""
        with self._change:
            found = next((waiting for waiting in self._waiting if waiting.name == name), None)
            if found is not None:
                found.job = job
            else:
                self._add(_Waiting(job, name))

    def lap(self) -> float:
        """For a job: seconds that jobs have taken since the last call, its own until now included."""
        worked = self._worked + time.monotonic() - self._began
        lap, self._told = worked - self._told, worked
        return lap

    def flush(self) -> None:
        """Waits until everything is done, without rests."""
        with self._change:
            self._hurried = True
            self._change.notify_all()
            self._change.wait_for(lambda: not self._waiting and not self._busy)
            self._hurried = False
            self._raise()

    def close(self) -> BaseException | None:
        """Does what waits and ends the thread; returns what a job failed by, if nobody was told yet."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._closing = False
        failure, self._failure = self._failure, None
        return failure

    def _add(self, waiting: _Waiting) -> None:
        self._raise()
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="clsfit-save", daemon=True)
            thread.start()  # may fail: then there is nothing to wait for, now or in close
            self._thread = thread
        self._waiting.append(waiting)
        self._change.notify_all()

    def _raise(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._began = time.monotonic()
            try:
                job()
            except BaseException as error:
                with self._change:  # what was to follow relies on it
                    self._failure = error
                    self._waiting.clear()
            del job  # it holds a copy of the weights
            with self._change:
                self._busy = False
                now = time.monotonic()
                self._worked += now - self._began
                self._rested_at = max(self._rested_at, now + REST * (now - self._began))
                self._change.notify_all()

    def _next(self) -> Job | None:
        """The next job, once it may be done; None at the end."""
        with self._change:
            while True:
                if self._waiting and (rest := self._rest()) <= 0:
                    self._busy = True
                    job = self._waiting.popleft().job
                    self._change.notify_all()
                    return job
                if not self._waiting and self._closing:
                    return None
                self._change.wait(rest if self._waiting else None)

    def _rest(self) -> float:
        """Seconds until the first job may be done."""
        if self._hurried or self._closing or not all(waiting.name for waiting in self._waiting):
            return 0.0
        return self._rested_at - time.monotonic()
