"""A worker process as its parent sees it: how it is started, asked, and found dead."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clsfit.data import worker as wire
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.errors import ResourceError

Canvas: TypeAlias = npt.NDArray[np.uint8]
"""uint8 [H, W, C]."""

PATIENCE = 5.0
"""Seconds that a process is given to end once it has been killed."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from clsfit.data.worker import spawned; spawned(*sys.argv[2:])"
)


class Worker:
    """A process and the channel to it; used by one thread at a time."""

    def __init__(self, channel: socket.socket, process: _Forked | subprocess.Popen[bytes]) -> None:
        self.channel, self.process = channel, process

    def ask(self, picture: bytes) -> Canvas:
        """The canvas of an encoded picture, as the worker's :class:`Prepare` made it.

        Raises:
            Gone: the worker has died.
            PictureError: as :class:`Prepare` raised it there.
            MemoryError: the worker had not enough memory.
            RuntimeError: anything else went wrong there, which is a bug.
        """
        try:
            wire.send(self.channel, wire.LENGTH.pack(len(picture)), picture)
            kind, *shape = wire.HEAD.unpack(wire.receive(self.channel, wire.HEAD.size))
            if kind == wire.CANVAS:
                canvas: Canvas = np.empty(shape, dtype=np.uint8)
                wire.receive_into(self.channel, canvas.data.cast("B"))
                return canvas
            text = wire.receive(self.channel, shape[0]).decode("utf-8", "surrogatepass")
        except BaseException:  # half an answer is under way, which the next to ask would take for its own
            self.process.kill()
            raise
        raise _raised(kind, text)

    def await_ready(self) -> None:
        """Returns once the worker takes requests.

        Raises:
            Gone: it has died.
        """
        wire.receive(self.channel, len(wire.READY))

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


def fork(channel: socket.socket, prepare: Prepare) -> _Forked:
    """A copy of this process, which serves the other end of a channel: ``channel``."""
    pid = os.fork()
    if pid == 0:
        wire.forked(channel, prepare)
    return _Forked(pid)


def spawn(channel: socket.socket, prepare: Prepare) -> subprocess.Popen[bytes]:
    """A fresh interpreter that does the same; it never sees the program here, so needs no ``__main__`` guard."""
    modes = ["-P", "-X", f"utf8={sys.flags.utf8_mode}"]
    handle = channel.fileno()
    return subprocess.Popen(
        [sys.executable, *modes, "-c", _BOOT, json.dumps(sys.path), str(handle), json.dumps(prepare.to_json())],
        stdin=subprocess.DEVNULL,
        pass_fds=(handle,),
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _raised(kind: bytes, text: str) -> Exception:
    """The exception that a worker had, from what it says of it."""
    if kind == wire.PICTURE:
        return PictureError(text)
    if kind == wire.MEMORY:
        return MemoryError(text)
    error = RuntimeError(f"in a worker process: {text.rstrip().splitlines()[-1]}")
    error.add_note(text)
    return error
