"""A worker process: it is sent rows, and answers each with a canvas or with what went wrong.

The channel is a socket pair. A request is a row; an answer is a head of fixed length and a body, the
canvas' bytes or a text, so that pixels are copied once and nothing has to be in shared memory.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import socket
import threading
import traceback
from queue import SimpleQueue
from struct import Struct
from typing import Any, NoReturn

from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare

LENGTH = Struct("<q")
"""A request's row, and the length of what a spawned worker is sent first."""

HEAD = Struct("<c4q")
"""An answer's kind, its row, and a canvas' [H, W, C]; a text has its length in place of H."""

CANVAS, PICTURE, SYSTEM, MEMORY, OTHER, READY = b"c", b"p", b"s", b"m", b"o", b"r"

LEFT_TO_THE_PARENT = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""Signals that a terminal or a batch system sends to all processes of a job, and only its first one acts on."""


class Gone(Exception):
    """The process at the other end has ended."""


def send(channel: socket.socket, *parts: bytes | memoryview) -> None:
    """Sends all of each part.

    Raises:
        Gone: nobody will read it.
    """
    try:
        for part in parts:
            channel.sendall(part)
    except OSError as error:
        raise Gone from error


def receive_into(channel: socket.socket, view: memoryview) -> None:
    """Fills ``view``, bytes.

    Raises:
        Gone: the other end was closed before.
    """
    done = 0
    while done < len(view):
        try:
            got = channel.recv_into(view[done:])
        except OSError as error:
            raise Gone from error
        if not got:
            raise Gone
        done += got


def receive(channel: socket.socket, length: int) -> bytearray:
    """``length`` bytes; raises as :func:`receive_into`."""
    data = bytearray(length)
    receive_into(channel, memoryview(data))
    return data


def forked(channel: socket.socket, source: Any, prepare: Prepare) -> NoReturn:
    """What a forked worker does until its end."""
    try:
        _leave_signals_to_the_parent()
        gc.freeze()  # the parent's garbage is not ours: its finalizers would delete what it still uses
        _serve(channel, source, prepare)
    finally:
        os._exit(1)


def spawned(handle: int) -> None:
    """What a spawned worker does until its end; ``handle`` is its end of the channel."""
    _leave_signals_to_the_parent()
    channel = socket.socket(fileno=handle)
    channel.set_inheritable(False)
    try:
        data = receive(channel, LENGTH.unpack(receive(channel, LENGTH.size))[0])
        try:
            source, prepare = pickle.loads(data)  # noqa: S301  the parent has just made it, and nobody else can
        except Exception as error:
            send(channel, *_text(OTHER, -1, {"type": type(error).__name__, "text": str(error)}))
            return
        _serve(channel, source, prepare)
    except Gone:
        return


def _leave_signals_to_the_parent() -> None:
    for number in LEFT_TO_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # they were held back while this process was started
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_THE_PARENT)


def _serve(channel: socket.socket, source: Any, prepare: Prepare) -> NoReturn:
    rows: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, rows), daemon=True).start()
    send(channel, HEAD.pack(READY, -1, 0, 0, 0))
    while True:
        send(channel, *_answer(rows.get(), source, prepare))


def _listen(channel: socket.socket, rows: SimpleQueue[int]) -> NoReturn:
    """Takes requests; a thread of its own, so that the parent's end is noticed in the middle of a picture too."""
    try:
        while True:
            rows.put(LENGTH.unpack(receive(channel, LENGTH.size))[0])
    finally:
        os._exit(0)


def _answer(row: int, source: Any, prepare: Prepare) -> tuple[bytes, bytes | memoryview]:
    """Head and body."""
    try:
        canvas = prepare(source.read(row))
        return HEAD.pack(CANVAS, row, *canvas.shape), canvas.data.cast("B")
    except PictureError as error:
        return _text(PICTURE, row, {"text": str(error)})
    except MemoryError as error:
        return _text(MEMORY, row, {"text": str(error)})
    except OSError as error:
        named = isinstance(error.filename, str | bytes)
        return _text(
            SYSTEM,
            row,
            {
                "number": error.errno,
                "reason": error.strerror,
                "file": os.fsdecode(error.filename) if named else None,
                "text": str(error),
            },
        )
    except BaseException as error:  # whatever a data set raises belongs to the parent
        trace = "".join(traceback.format_exception(error))
        return _text(OTHER, row, {"type": type(error).__name__, "text": str(error), "trace": trace})


def _text(kind: bytes, row: int, told: dict[str, Any]) -> tuple[bytes, bytes]:
    body = json.dumps(told).encode()  # ASCII: lone surrogates of file names travel too
    return HEAD.pack(kind, row, len(body), 0, 0), body
