"""A worker process: it is sent encoded pictures, and answers each with a canvas or with what went wrong.

The channel is a socket pair. A request is a length and the bytes of a file; an answer is a head of fixed
length and a body, the canvas' bytes or a text, so that pixels are copied once and nothing has to be in
shared memory.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
import traceback
from queue import SimpleQueue
from struct import Struct
from typing import NoReturn

from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.interrupts import JOB_SIGNALS

LENGTH = Struct("<q")
"""A request's head: how many bytes follow."""

HEAD = Struct("<c3q")
"""An answer's kind, and a canvas' [H, W, C]; a text has its length in place of H."""

CANVAS, PICTURE, MEMORY, OTHER = b"c", b"p", b"m", b"o"
"""Kinds of answers: a canvas, and the text of a PictureError, of a MemoryError, of any other traceback."""

READY = b"r"
"""Sent once, before any answer."""


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


def forked(channel: socket.socket, prepare: Prepare) -> NoReturn:
    """What a forked worker does until its end."""
    try:
        _leave_signals_to_the_parent()
        gc.freeze()  # the parent's garbage is not ours: its finalizers would delete what it still uses
        _serve(channel, prepare)
    finally:
        os._exit(1)


def spawned(handle: str, prepare: str) -> None:
    """What a spawned worker does until its end.

    Args:
        handle: the number of its end of the channel.
        prepare: the JSON of :meth:`clsfit.data.prepare.Prepare.to_json`.
    """
    _leave_signals_to_the_parent()
    channel = socket.socket(fileno=int(handle))
    channel.set_inheritable(False)
    try:
        _serve(channel, Prepare.from_json(json.loads(prepare)))
    except Gone:
        return


def _leave_signals_to_the_parent() -> None:
    for number in JOB_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # they were held back while this process was started
        signal.pthread_sigmask(signal.SIG_UNBLOCK, JOB_SIGNALS)


def _serve(channel: socket.socket, prepare: Prepare) -> NoReturn:
    pictures: SimpleQueue[bytearray] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, pictures), daemon=True).start()
    send(channel, READY)
    while True:
        send(channel, *_answer(pictures.get(), prepare))


def _listen(channel: socket.socket, pictures: SimpleQueue[bytearray]) -> NoReturn:
    """Takes requests; a thread of its own, so that the parent's end is noticed in the middle of a picture too."""
    try:
        while True:
            pictures.put(receive(channel, *LENGTH.unpack(receive(channel, LENGTH.size))))
    except Gone:
        os._exit(0)
    finally:  # out of memory: what follows on the channel cannot be taken
        os._exit(1)


def _answer(picture: bytearray, prepare: Prepare) -> tuple[bytes, bytes | memoryview]:
    """Head and body."""
    try:
        canvas = prepare(bytes(picture))
        return HEAD.pack(CANVAS, *canvas.shape), canvas.data.cast("B")
    except PictureError as error:
        return _text(PICTURE, str(error))
    except MemoryError as error:
        return _text(MEMORY, str(error))
    except BaseException:  # a bug, which the parent reports
        return _text(OTHER, traceback.format_exc())


def _text(kind: bytes, text: str) -> tuple[bytes, bytes]:
    body = text.encode("utf-8", "surrogatepass")
    return HEAD.pack(kind, len(body), 0, 0), body
