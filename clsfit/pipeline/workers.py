"""Jobs in threads, results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_order(make: Callable[[Job, threading.Event], Result], jobs: Iterator[Job], workers: int) -> Iterator[Result]:
    """``make`` of every job, in the jobs' order, at most ``workers`` + 1 jobs ahead of the consumer.

    ``jobs`` is advanced in the calling thread. A job that fails raises where its result is due.
    Closing the iterator early sets the event that every running ``make`` was given, waits for them,
    and leaves no thread behind.

    Args:
        make: from a job and the event after which its result is no longer wanted.
        jobs: the jobs.
        workers: threads; 0: everything in the calling thread, nothing ahead.
    """
    if workers == 0:
        never = threading.Event()
        for job in jobs:
            yield make(job, never)
        return
    crew = _Crew(make)
    try:
        pending = deque(crew.submit(job) for job in islice(jobs, workers + 1))
        crew.start(min(workers, len(pending)))
        while pending:
            result = pending.popleft().result()
            pending.extend(crew.submit(job) for job in islice(jobs, 1))
            yield result
    finally:
        crew.close()


class _Crew(Generic[Job, Result]):
    """Threads that take jobs from a queue.

    The standard library's pool does not fit: it starts threads when it sees fit, and here all must
    have started before the default number of torch threads is put back.
    """

    def __init__(self, make: Callable[[Job, threading.Event], Result]) -> None:
        self._make = make
        self._stop = threading.Event()
        self._tasks: SimpleQueue[tuple[Future[Result], Job] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Job) -> Future[Result]:
        """The job's result, later; jobs are begun in the order of submission."""
        future: Future[Result] = Future()
        self._tasks.put((future, job))
        return future

    def start(self, count: int) -> None:
        """Starts the threads, and leaves torch's number of threads as it is everywhere else."""
        own, ready = torch.get_num_threads(), threading.Semaphore(0)
        for place in range(count):
            # Daemons: a suspended iterator must not keep a finished program from ending.
            name = f"clsfit-batches-{place}"
            thread = threading.Thread(target=self._work, args=(ready,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        for _ in self._threads:
            ready.acquire()
        if self._threads:
            torch.set_num_threads(own)  # nothing new for this thread; the old default for those born later

    def _work(self, ready: threading.Semaphore) -> None:
        try:
            # One torch thread each, or every small resize would start a team of its own. The number
            # is the thread's own, but it also becomes the default that any thread takes at its first
            # use of torch; reading it is this thread's first use, before the default is put back.
            torch.set_num_threads(1)
            torch.get_num_threads()
        finally:
            ready.release()
        while (task := self._tasks.get()) is not None:
            future, job = task
            if self._stop.is_set():
                continue
            try:
                future.set_result(self._make(job, self._stop))
            except BaseException as error:  # whatever it is, it belongs to the thread that waits for the result
                future.set_exception(error)
            del task, future, job  # or an idle thread would keep the last batch alive

    def close(self) -> None:
        """Ends the threads: what runs is finished, what waits is dropped."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
