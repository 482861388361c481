"""The connection to the store of small values in which the ranks of a run meet."""

from __future__ import annotations

import queue
import socket
import threading
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from clsfit.distributed.launch import Place
from clsfit.errors import LostPeerError


def connect(place: Place, patience: float, *, keeps: bool = False) -> Any:
    """The store at ``place``'s address: an object with ``add``, ``set``, ``get``, ``check`` and ``compare_set``.

    Args:
        place: this process among the ranks.
        patience: seconds to wait for an answer.
        keeps: whether this process is to keep the store.

    Raises:
        LostPeerError: the port is taken, or nobody answers there.
    """
    where, listening = f"{place.address}:{place.port}", None
    try:
        if keeps:
            listening = _listening(place)
        store = _open(place, patience, listening.detach() if listening else None)
    except OSError as error:
        raise LostPeerError(
            f"rank 0 cannot listen at {where}: {(error.strerror or str(error)).lower()}",
            "environment MASTER_ADDR, MASTER_PORT",
            "give another port (torchrun --master-port), or end what uses this one",
        ) from error
    except RuntimeError as error:
        raise LostPeerError(
            f"{place} cannot reach rank 0 at {where}",
            "environment MASTER_ADDR, MASTER_PORT",
            "start rank 0 too, with this address and port; a firewall may be in between",
        ) from error
    return dist.PrefixStore(f"clsfit/{place.attempt}", store)  # type: ignore[attr-defined]


def _open(place: Place, patience: float, listening: int | None) -> Any:
    """A connection to the store, which is kept here where a listening socket is given.

    Opened in a thread: where something else has the port and says nothing, torch would wait for ever.

    Raises:
        RuntimeError: nobody answers.
    """
    opened = queue.SimpleQueue[Any]()

    def work() -> None:
        try:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                place.address,
                place.port,
                is_master=listening is not None,
                wait_for_workers=False,
                timeout=timedelta(seconds=2 * patience),  # torch says much on stderr when it is over
                master_listen_fd=listening,
            )
        except RuntimeError as error:
            opened.put(error)
        else:
            opened.put(store)

    thread = threading.Thread(target=work, name="clsfit-meets", daemon=True)
    thread.start()
    try:
        answer = opened.get(timeout=patience)
    except queue.Empty:
        raise RuntimeError("no answer") from None
    thread.join()
    if isinstance(answer, RuntimeError):
        raise answer
    return answer


def _listening(place: Place) -> socket.socket:
    """A socket at the ranks' address, and at no other one of this machine: nobody has to prove who he is there."""
    family, _, _, _, address = socket.getaddrinfo(place.address, place.port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening
