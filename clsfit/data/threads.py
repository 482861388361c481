"""One job over many rows, in threads: Pillow and file reads leave the interpreter lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from clsfit.distributed import launch

Progress = Callable[[int], object]
"""Told after each finished chunk how many rows it had."""


def over_rows(
    work: Callable[[int, int], None], total: int, *, chunk: int, workers: int, progress: Progress | None = None
) -> None:
    """Calls ``work(start, stop)`` for consecutive pieces of 0..total-1, each row once.

    Args:
        work: called in any order and from several threads at once; its first exception stops all
            threads after their present piece, and is raised here.
        total: how many rows.
        chunk: rows in a piece.
        workers: threads; 0 calls ``work`` from the caller's.
        progress: told, one thread at a time, how many rows a finished piece had.
    """
    pieces = iter([(start, min(start + chunk, total)) for start in range(0, total, chunk)])
    if workers < 1 or total <= chunk:
        for start, stop in pieces:
            work(start, stop)
            if progress is not None:
                progress(stop - start)
        return
    team = _Team(work, pieces, progress)
    threads = [threading.Thread(target=team.run, name=f"clsfit-data-{i}", daemon=True) for i in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # Ctrl-C arrives here: no thread may outlive the call
        team.stop.set()
        for thread in threads:
            thread.join()
    if team.failure is not None:
        raise team.failure


class _Team:
    def __init__(
        self, work: Callable[[int, int], None], pieces: Iterator[tuple[int, int]], progress: Progress | None
    ) -> None:
        self.work, self.pieces, self.progress = work, pieces, progress
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        while not self.stop.is_set():
            with self.lock:
                piece = next(self.pieces, None)
            if piece is None:
                return
            try:
                self.work(*piece)
                if self.progress is not None:
                    with self.lock:
                        self.progress(piece[1] - piece[0])
            except BaseException as error:
                with self.lock:
                    self.failure = self.failure or error
                self.stop.set()


def usable_cores() -> int:
    """Cores that this process may use; ranks on one machine share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    place = launch.place()
    return max(1, cores // place.local_world_size) if place is not None else cores


def workers_of(workers: int | None) -> int:
    """Decoding threads: as asked for, else one per core that this process may use, at most 8."""
    return workers if workers is not None else min(8, usable_cores())
