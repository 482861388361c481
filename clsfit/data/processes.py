"""Pictures decoded in worker processes, or by whoever asks: the same bits.

A thread that needs a picture reads it, takes an idle worker, sends it the bytes, and waits for the
canvas. A worker is used by one thread at a time, so an answer cannot reach the wrong one. It knows how
a canvas is made and nothing of the data set, whose code runs in this process only. Channels are socket
pairs: no shared memory, no semaphores, nothing that a killed run would leave behind.

Each end is open in one process only. So a worker that dies closes its channel, which the thread that
waits for it sees; and a parent that dies closes all of them, on which the workers leave.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clsfit.data import probe
from clsfit.data import worker as wire
from clsfit.data.child import PATIENCE, Canvas, Worker, fork, spawn
from clsfit.data.prepare import Prepare
from clsfit.data.probe import Probe
from clsfit.errors import ConfigError, ResourceError, printable
from clsfit.interrupts import held

Decode: TypeAlias = Callable[[int], Canvas]
"""The canvas of a source's row; raises PictureError or OSError where the picture cannot be read."""

_pools: weakref.WeakSet[Decoders] = weakref.WeakSet()


class Decoders:
    """The workers of one run, started when the first picture is wanted and ended by :meth:`close`.

    Args:
        method: ``thread``: no processes, whoever asks decodes; ``fork``: copies of this process; ``spawn``:
            fresh interpreters, which import what decodes and nothing else; ``auto``: as ``thread``, or as ``spawn``
            where there is much to decode and :class:`clsfit.data.probe.Probe` finds it faster.
        workers: processes, or threads that will ask; 0 is none.

    Raises:
        ConfigError: this system cannot fork.
    """

    def __init__(self, method: str = "thread", workers: int = 0) -> None:
        if method == "fork" and not hasattr(os, "fork"):
            raise ConfigError("this system cannot fork", "option --start-method fork", "use spawn or thread")
        self._method = method
        self._count = workers if method in {"fork", "spawn"} else 0
        self._asking = workers if method == "auto" and os.name == "posix" else 0
        self._probe: Probe | None = None
        self._team: list[Worker] = []
        self._ends: list[socket.socket] = []
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._closed = False
        _pools.add(self)

    @property
    def are_processes(self) -> bool:
        """Whether processes decode, and not whoever asks."""
        return self._count > 0

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def description(self) -> str:
        """``2 processes (spawn)``; empty where there are none."""
        if self._probe is not None and self._probe.gain is not None:
            return f"{self._probe.processes.description}, {self._probe.gain:.1f} times as fast as threads"
        if not self._team:
            return ""
        return f"{len(self._team)} process{'es' * (len(self._team) > 1)} ({self._method})"

    def start(self, source: Any, prepare: Prepare, rows: npt.NDArray[np.int64] | None = None) -> Decode:
        """How to decode pictures of ``source``; starts the workers if they are not there yet.

        To be called while this process has no other threads, and with the same ``prepare`` each time.

        Args:
            source: a :class:`clsfit.contracts.Dataset`, of which this process alone reads. Where it gives
                pixels there is nothing to decode: whoever asks prepares them.
            prepare: how a canvas is made.
            rows: [M] int64, what will be decoded, if that is known: the method ``auto`` looks at it.

        Raises:
            ResourceError: the workers cannot be started; none is left. The function raises it where a
                worker dies.
        """
        if not self._count:
            here = partial(_decode_here, source, prepare)
            return here if rows is None else self._probed(here, source, prepare, rows)
        if not self._team:
            try:
                self._start(prepare)
            except OSError as error:
                reached = len(self._team)
                self.close()  # first: without a free handle nothing more can be imported
                raise self._not_started(error, reached) from error
            except BaseException:
                self.close()
                raise
        return partial(self._decode, source, prepare)

    def _probed(self, here: Decode, source: Any, prepare: Prepare, rows: npt.NDArray[np.int64]) -> Decode:
        """``here``, or what begins with it where so much is to be decoded that processes may pay."""
        if self._probe is not None:
            return self._probe if self._probe.source is source else here
        if self._asking < 2 or probe.seconds(here, rows, self._asking) < probe.WORTH:
            return here
        processes = Decoders("spawn", self._asking)
        try:
            self._probe = Probe(here, processes.start(source, prepare), processes, source)
        except ResourceError:  # nobody has asked for them
            return here
        return self._probe

    def close(self) -> None:
        """Ends the workers, at once: they hold nothing that could be lost. Fine if that was done already."""
        self._closed = True
        if self._probe is not None:
            self._probe.processes.close()
        for worker in self._team:
            worker.process.kill()
        for _ in self._team:  # a thread that waits for an answer sees the channel end, and lets go of its worker
            with suppress(queue.Empty):
                self._idle.get(timeout=PATIENCE)
        for worker in self._team:
            worker.ended()
            self._idle.put(worker)  # for threads that still wait for one: they are told
        self.forget()

    def forget(self) -> None:
        """Closes this process's ends; alone it is for a forked child, which leaves the workers to its parent."""
        self._closed = True
        for end in self._ends:
            end.close()
        self._ends.clear()
        self._team.clear()

    def _start(self, prepare: Prepare) -> None:
        with held():  # so that no signal can end a worker before it ignores them
            for _ in range(self._count):
                self._launch(prepare)
        for worker in self._team:  # they start side by side
            try:
                worker.await_ready()
            except wire.Gone:
                raise worker.death("while it started") from None

    def _launch(self, prepare: Prepare) -> None:
        ours, theirs = socket.socketpair()
        self._ends.append(ours)  # before the fork: the child closes all ends that it finds here
        with theirs:
            worker = Worker(ours, (fork if self._method == "fork" else spawn)(theirs, prepare))
        self._team.append(worker)
        self._idle.put(worker)

    def _not_started(self, error: OSError, reached: int) -> ResourceError:
        reason = (error.strerror or str(error)).lower()
        what = f"{self._count} workers cannot be started: {reason} after {reached}"
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            return ResourceError(what, "", "use fewer --workers")
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        where = f"a process may have {limit} files open here (ulimit -n)"
        return ResourceError(what, where, "use fewer --workers, or allow more open files")

    def _decode(self, source: Any, prepare: Prepare, row: int) -> Canvas:
        picture = source.read(row)
        if not isinstance(picture, bytes | bytearray | memoryview):
            return prepare(picture)
        worker = self._idle.get()
        try:
            if self._closed:
                raise ResourceError("the worker processes have been ended")
            return worker.ask(bytes(picture))
        except wire.Gone:
            if self._closed:
                raise ResourceError("the worker processes have been ended") from None
            raise worker.death(f"at picture {printable(str(source.table().paths[row]))}") from None
        finally:
            self._idle.put(worker)


def _decode_here(source: Any, prepare: Prepare, row: int) -> Canvas:
    return prepare(source.read(row))


def _forget_in_child() -> None:
    """A forked child shares the channels: were our ends left open there, a worker would not see our end."""
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
