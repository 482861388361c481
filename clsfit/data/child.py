"""A worker process as its parent sees it: how it is started, asked, and found dead."""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clsfit import errors
from clsfit.data import worker as wire
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.errors import ResourceError

Canvas: TypeAlias = npt.NDArray[np.uint8]
"""uint8 [H, W, C]."""

PATIENCE = 5.0
"""Seconds that a process is given to end once it has been killed."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from clsfit.data.worker import spawned; spawned(int(sys.argv[1]))"
)


class Worker:
    """A process and the channel to it; used by one thread at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.process: _Forked | subprocess.Popen[bytes] | _NotStarted = _NotStarted()

    def ask(self, row: int) -> Canvas:
        """The canvas of ``row``, as the worker's :class:`Prepare` made it; raises what it raised there.

        Raises:
            Gone: the worker has died.
        """
        try:
            wire.send(self.channel, wire.LENGTH.pack(row))
            kind, answered, *shape = wire.HEAD.unpack(wire.receive(self.channel, wire.HEAD.size))
            if answered != row:
                raise AssertionError(f"a worker was asked for row {row} and answered row {answered}")
            if kind == wire.CANVAS:
                canvas: Canvas = np.empty(shape, dtype=np.uint8)
                wire.receive_into(self.channel, canvas.data.cast("B"))
                return canvas
            told = self._text(shape[0])
        except BaseException:  # half an answer is under way, which the next to ask would take for its own
            self.process.kill()
            raise
        raise _raised(kind, told)

    def greeted(self) -> tuple[bytes, dict[str, Any]]:
        """The kind of a worker's first answer, and what it says; raises as :meth:`ask`."""
        kind, _, length, *_ = wire.HEAD.unpack(wire.receive(self.channel, wire.HEAD.size))
        return kind, self._text(length) if length else {}

    def ended(self) -> int | None:
        """How the process ended: its exit code, or minus a signal; None if it does not end."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=PATIENCE)
        return None

    def death(self, when: str) -> ResourceError:
        """The error for a process that has closed its channel."""
        code = self.ended()
        if code is None:
            self.process.kill()
        if code is None or code >= 0:
            how = "stopped answering" if code is None else f"ended with exit code {code}"
            return ResourceError(f"a worker {how}", when, "look at that picture, or use --start-method thread")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        if -code == getattr(signal, "SIGKILL", 9):
            remedy = "most often memory was short: use fewer --workers, or free some; else look at that picture"
        else:
            remedy = "look at that picture: it may be what a decoder cannot bear"
        return ResourceError(f"a worker was killed by signal {-code} ({name})", when, remedy)

    def _text(self, length: int) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(bytes(wire.receive(self.channel, length)))
        return told


class _NotStarted:
    """Stands for a process that could not be started."""

    def kill(self) -> None:
        """Nothing."""

    def wait(self, timeout: float) -> int:
        """0, at once."""
        return 0


class _Forked:
    """A forked child, with what is needed here of :class:`subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._guard = threading.Lock()  # a pid must not be signalled once it has been waited for

    def kill(self) -> None:
        with self._guard:
            if self._code is None:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """How it ended.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        deadline, pause = time.monotonic() + timeout, 0.0005
        while True:
            with self._guard:
                if self._code is None:
                    try:
                        pid, status = os.waitpid(self.pid, os.WNOHANG)
                    except ChildProcessError:  # somebody else has waited for it
                        pid, status = self.pid, 0
                    if pid:
                        self._code = os.waitstatus_to_exitcode(status)
                if self._code is not None:
                    return self._code
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def fork(channel: socket.socket, source: Any, prepare: Prepare) -> _Forked:
    pid = os.fork()
    if pid == 0:
        wire.forked(channel, source, prepare)
    return _Forked(pid)


def spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    """A fresh interpreter, which never sees the program that runs here, so that needs no ``__main__`` guard."""
    modes = ["-P", "-X", f"utf8={sys.flags.utf8_mode}"]
    handle = channel.fileno()
    return subprocess.Popen(
        [sys.executable, *modes, "-c", _BOOT, str(handle), json.dumps(sys.path)],
        stdin=subprocess.DEVNULL,
        pass_fds=(handle,),
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _raised(kind: bytes, told: dict[str, Any]) -> BaseException:
    """The exception that a worker had."""
    if kind == wire.PICTURE:
        return PictureError(told["text"])
    if kind == wire.MEMORY:
        return MemoryError(told["text"])
    if kind == wire.SYSTEM:
        if told["number"] is None:
            return OSError(told["text"])
        return OSError(told["number"], told["reason"], told["file"])
    own = getattr(errors, told["type"], None)
    if isinstance(own, type) and issubclass(own, errors.ClsfitError):
        raised: BaseException = own(*told["text"].split("\n", 2))
    else:
        known = getattr(builtins, told["type"], None)
        if isinstance(known, type) and known in {ValueError, TypeError, KeyError, IndexError, AttributeError}:
            raised = known(told["text"])
        else:
            raised = RuntimeError(f"{told['type']}: {told['text']}")
    raised.add_note("in a worker process:\n" + told["trace"])
    return raised
