"""What ranks send each other: tensors that are added up, and bytes. Waits end when a rank is lost."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from clsfit.distributed.launch import Place
from clsfit.distributed.meeting import Meeting
from clsfit.errors import ConfigError

_TURN = timedelta(seconds=1)  # between two looks at whether the others are still there
_NEVER = timedelta(days=365)  # who is gone is found out by the meeting, and a slow rank is none that is gone
_PIECE = 1 << 26  # bytes that are sent at once


class Exchange:
    """The connections of one rank to all others. Every rank has to call the same, in the same order.

    Args:
        meeting: where every rank has arrived; it begins to look after them.

    Raises:
        ConfigError: this process is in a group of torch's already.
        LostPeerError: a rank is gone; every method raises it.
    """

    def __init__(self, meeting: Meeting) -> None:
        if dist.is_initialized():
            raise ConfigError(
                "this process is in a group of torch.distributed already",
                "clsfit makes one for the ranks of its run",
                "call clsfit.train in processes that have none",
            )
        self._meeting = meeting
        self._size = meeting.place.world_size
        meeting.watch()
        _stay_local(meeting.place)
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo",
                store=dist.PrefixStore("group", meeting.store),  # type: ignore[attr-defined]
                rank=meeting.place.rank,
                world_size=self._size,
                timeout=_NEVER,
            )
        except RuntimeError as error:
            raise meeting.whoever_is_lost() from error

    def close(self) -> None:
        """Ends the connections, once no rank waits for another one's any more."""
        self._meeting.part()
        dist.destroy_process_group()

    def add_up(self, tensor: torch.Tensor) -> None:
        """Makes ``tensor`` the sum over the ranks, the same bits on each; float32, float64, or an integer kind."""
        self._finish(dist.all_reduce(tensor, async_op=True))

    def any(self, mine: bool) -> bool:
        """Whether it is so on any rank."""
        flag = torch.tensor([mine], dtype=torch.uint8)
        self._finish(dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True))
        return bool(flag.item())

    def send(self, tensor: torch.Tensor) -> None:
        """Gives ``tensor``, of any kind of number, the values of rank 0."""
        whole = tensor.detach().contiguous()
        # as bytes: not every kind of number can be sent
        self._finish(dist.broadcast(whole.flatten().view(torch.uint8), 0, async_op=True))
        tensor.copy_(whole)

    def gather(self, blob: bytes) -> list[bytes]:
        """The bytes that each rank has, by rank."""
        length = torch.tensor([len(blob)])
        lengths = [torch.zeros_like(length) for _ in range(self._size)]
        self._finish(dist.all_gather(lengths, length, async_op=True))
        sizes = [int(each) for each in lengths]
        mine = _tensor(blob, max(sizes))
        parts = [torch.empty_like(mine) for _ in sizes]
        if len(mine):
            self._finish(dist.all_gather(parts, mine, async_op=True))
        return [each.numpy()[:size].tobytes() for each, size in zip(parts, sizes, strict=True)]

    def broadcast(self, blob: bytes) -> bytes:
        """The bytes that rank 0 has; those of the others do not matter."""
        length = torch.tensor([len(blob)])
        self._finish(dist.broadcast(length, 0, async_op=True))
        whole = _tensor(blob if self._meeting.place.rank == 0 else b"", int(length))
        for start in range(0, len(whole), _PIECE):
            self._finish(dist.broadcast(whole[start : start + _PIECE], 0, async_op=True))
        return whole.numpy().tobytes()

    def _finish(self, work: Any) -> None:
        """Waits for ``work``, or until a rank is lost."""
        while True:
            try:
                work.wait(_TURN)
                return
            except RuntimeError as error:
                if (lost := self._meeting.notice()) is not None:
                    raise lost from error
                if work.is_completed() and not _done(work):
                    raise self._meeting.whoever_is_lost() from error


def _done(work: Any) -> bool:
    """Whether ``work``, which is no longer under way, has ended well."""
    try:
        work.wait(_TURN)
    except RuntimeError:
        return False
    return True


def _tensor(blob: bytes, length: int) -> torch.Tensor:
    """uint8 [length] that begins with ``blob``."""
    array = np.zeros(length, dtype=np.uint8)
    array[: len(blob)] = np.frombuffer(blob, dtype=np.uint8)
    return torch.from_numpy(array)


def _stay_local(place: Place) -> None:
    """Ranks of one machine talk over its loopback: nobody has to prove who he is there."""
    if place.one_machine and "GLOO_SOCKET_IFNAME" not in os.environ:
        loopback = next((name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}), None)
        if loopback:
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
