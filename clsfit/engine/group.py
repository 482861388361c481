"""Several processes that train one run: each takes its part of every batch, and all have the same weights.

After every step gradients are added up over the ranks and running statistics (of BatchNorm) averaged by samples, so
that all ranks hold the same bits. Whatever a run decides is decided by all: losses that are not finite are found in
what was added up; signals, saves and stops are told to all before one of them acts.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from clsfit.distributed.launch import Place
from clsfit.distributed.meeting import Meeting
from clsfit.engine.ranks import Reduce
from clsfit.engine.state import flatten, from_blob, to_blob, unflatten
from clsfit.engine.sums import Sums
from clsfit.errors import ClsfitError, ConfigError, LostPeerError
from clsfit.keyed import key
from clsfit.pipeline.batches import Bounds, Window, part
from clsfit.pipeline.loader import Share
from clsfit.storage.checkpoints import Checkpoint

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_TURN = timedelta(seconds=1)  # between two looks at whether the others are still there
_NEVER = timedelta(days=365)  # who is gone is found out by the meeting, and a slow rank is none that is gone
_PIECE = 1 << 26  # bytes that are sent at once


class Group:
    """The ranks of a run; see :class:`clsfit.engine.ranks.Ranks`. To be entered before the first question.

    Args:
        meeting: where every rank has arrived.
    """

    def __init__(self, meeting: Meeting) -> None:
        self.place, self._meeting = meeting.place, meeting
        self.rank, self.world_size = self.place.rank, self.place.world_size
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __enter__(self) -> Group:
        if dist.is_initialized():
            raise ConfigError(
                "this process is in a group of torch.distributed already",
                "clsfit makes one for the ranks of its run",
                "call clsfit.train in processes that have none",
            )
        self._meeting.watch()
        _stay_local(self.place)
        with self._translated():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo",
                store=dist.PrefixStore("group", self._meeting.store),  # type: ignore[attr-defined]
                rank=self.rank,
                world_size=self.world_size,
                timeout=_NEVER,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._asked = None
        if error is None:  # else others may still wait in it
            self._meeting.part()
            dist.destroy_process_group()

    @property
    def share(self) -> Share:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        return partial(part, rank=self.rank, world_size=self.world_size)

    def seed(self, seed: int) -> int:
        """See :class:`clsfit.engine.ranks.Ranks`; that of rank 0 is the run's."""
        return seed if self.rank == 0 else key(seed, "rank", self.rank)

    def own(self, windows: Sequence[Window]) -> Sequence[Window]:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        share = self.share
        return [
            Window([own for whole in window.bounds if (own := share(whole)) is not None], window.samples)
            for window in windows
        ]

    def turns(self, bounds: Sequence[Bounds]) -> list[Bounds]:
        """See :class:`clsfit.engine.ranks.Ranks`: whole batches in turn, so logits are those of one process."""
        return list(bounds[self.rank :: self.world_size])

    def level(self, run: Run) -> None:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        for module in (run.model, run.loss):
            for tensor in module.state_dict().values():
                whole = tensor.detach().contiguous()
                # as bytes: not every kind of number can be sent
                self._finish(dist.broadcast(whole.flatten().view(torch.uint8), 0, async_op=True))
                tensor.copy_(whole)

    def reducer(self, run: Run) -> Reduce:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        parameters = run.parameters
        every = [buffer for module in (run.model, run.loss) for buffer in module.buffers()]
        buffers = [torch.view_as_real(buffer) if buffer.is_complex() else buffer for buffer in every]

        def reduce(losses: list[torch.Tensor], window: Window) -> list[torch.Tensor]:
            self._average(buffers, sum(stop - start for start, stop in window.bounds), window.samples)
            return self._add_up(parameters, losses, run.device)

        return reduce

    @torch.no_grad()
    def _add_up(
        self, parameters: list[torch.nn.Parameter], losses: list[torch.Tensor], device: torch.device
    ) -> list[torch.Tensor]:
        """Adds gradients up over the ranks; one that is None on every rank stays so. Returns the sum of all losses."""
        gradients = [p.grad for p in parameters]
        pieces = [
            g.float().flatten() if g is not None else torch.zeros(p.numel(), device=device)
            for g, p in zip(gradients, parameters, strict=True)
        ]
        there = torch.tensor([float(g is not None) for g in gradients]).to(device, non_blocking=True)
        loss = torch.stack(losses).sum() if losses else torch.zeros((), device=device)
        flat = torch.cat([*pieces, there, loss.float().reshape(1)])
        self._finish(dist.all_reduce(flat, async_op=True))
        *summed, there, loss = flat.split_with_sizes([*(p.numel() for p in parameters), len(parameters), 1])
        # read only where this rank lacks one: that waits for the device
        somewhere = there.tolist() if any(g is None for g in gradients) else []
        for place, (parameter, values) in enumerate(zip(parameters, summed, strict=True)):
            if parameter.grad is not None:
                parameter.grad.copy_(values.view(parameter.shape))
            elif somewhere[place]:
                parameter.grad = torch.empty_like(parameter).copy_(values.view(parameter.shape))
        return [loss.squeeze(0)]

    @torch.no_grad()
    def _average(self, buffers: list[torch.Tensor], own: int, samples: int) -> None:
        """The mean of each buffer over the ranks, by the samples that they have seen. float64: counts stay exact."""
        if not buffers:
            return
        flat = torch.cat([buffer.flatten().double() for buffer in buffers])
        flat = flat * own if own else torch.zeros_like(flat)  # an infinity times nothing is no number
        self._finish(dist.all_reduce(flat, async_op=True))
        flat /= samples
        for buffer, values in zip(buffers, flat.split_with_sizes([buffer.numel() for buffer in buffers]), strict=True):
            mean = values.view(buffer.shape)
            buffer.copy_(mean if buffer.is_floating_point() else mean.round())

    def merged(self, sums: Sums, fresh: Callable[[], Sums]) -> Sums:
        """See :class:`clsfit.engine.ranks.Ranks`: added in the order of the ranks, on every one of them."""
        tensors: dict[str, torch.Tensor] = {}
        state = json.dumps(flatten(sums.state_dict(), "sums", tensors)).encode()
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        states, blobs = self._gather(state), self._gather(to_blob(tensors))
        whole = fresh()
        for text, blob in zip(states, blobs, strict=True):
            own = fresh()
            own.load_state_dict(unflatten(json.loads(text), from_blob(blob)), device)
            if not whole.samples:
                whole = own
            elif own.samples:
                whole.merge(own)
        return whole

    def agreed(self, run: Run) -> bool:
        """See :class:`clsfit.engine.ranks.Ranks`.

        The answer is to what was asked one step before, so that nobody waits for it.
        """
        asked, self._asked = self._asked, self._ask(run)
        if asked is None:
            return False
        flag, work = asked
        self._finish(work)
        if not flag.item():
            return False
        self.settle(run)
        return True

    def _ask(self, run: Run) -> tuple[torch.Tensor, Any]:
        mine = run.interrupt or run.save_told or run.stop_reason or (self.rank == 0 and run.save_due)
        flag = torch.tensor([1 if mine else 0], dtype=torch.uint8)
        return flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)

    def settle(self, run: Run) -> None:
        """See :class:`clsfit.engine.ranks.Ranks`.

        Callbacks ask every rank to save, by its own clock; rank 0 alone is heard, which does it.
        """
        if self._asked is not None:
            self._finish(self._asked[1])
            self._asked = None
        mine = [run.interrupt, run.save_told or (self.rank == 0 and run.save_due), run.stop_reason]
        asks = [json.loads(each) for each in self._gather(json.dumps(mine).encode())]
        run.leaving = next((interrupt for interrupt, _, _ in asks if interrupt), 0)
        run.save_due = any(save for _, save, _ in asks)
        run.stop_reason = next((reason for _, _, reason in asks if reason), "")

    def same(self, saved: Checkpoint | None) -> Checkpoint | None:
        """See :class:`clsfit.engine.ranks.Ranks`; the others get its content."""
        content = saved.content() if saved is not None else {}
        head = None if saved is None else [saved.step, str(saved.path), {name: len(content[name]) for name in content}]
        told = json.loads(self._broadcast(json.dumps(head).encode()))
        if told is None:
            return None
        step, path, sizes = told
        files = {name: self._broadcast(content.get(name, b"")) for name in sizes}
        return saved if saved is not None else Sent(step, Path(path), {}, files)

    def alike(self, told: str) -> bool:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        return len(set(self._gather(told.encode("utf-8", "surrogateescape")))) == 1

    def meet(self) -> None:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        self._gather(b"")

    def _gather(self, blob: bytes) -> list[bytes]:
        """The bytes that each rank has, by rank."""
        length = torch.tensor([len(blob)])
        lengths = [torch.zeros_like(length) for _ in range(self.world_size)]
        self._finish(dist.all_gather(lengths, length, async_op=True))
        sizes = [int(each) for each in lengths]
        mine = _tensor(blob, max(sizes))
        parts = [torch.empty_like(mine) for _ in sizes]
        if len(mine):
            self._finish(dist.all_gather(parts, mine, async_op=True))
        return [each.numpy()[:size].tobytes() for each, size in zip(parts, sizes, strict=True)]

    def _broadcast(self, blob: bytes) -> bytes:
        """The bytes that rank 0 has."""
        length = torch.tensor([len(blob)])
        self._finish(dist.broadcast(length, 0, async_op=True))
        whole = _tensor(blob if self.rank == 0 else b"", int(length))
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

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._meeting.whoever_is_lost() from error


@dataclass(frozen=True)
class Sent(Checkpoint):
    """A checkpoint of rank 0, on another rank.

    Attributes:
        files: content by name.
    """

    files: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return self.files[name]


@contextmanager
def farewell(meeting: Meeting) -> Iterator[None]:
    """Tells the other ranks how this one's part ends; an error that all of them have is said by rank 0 alone."""
    place = meeting.place
    try:
        yield
    except BaseException as error:
        if isinstance(error, LostPeerError) or (isinstance(error, ClsfitError) and error.shared):
            meeting.leave()
        else:
            meeting.leave(f"{type(error).__name__}: {error}")
            if isinstance(error, ClsfitError):
                error.what = f"{place}: {error.what}"
        raise
    meeting.leave()


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
    if place.one_machine and place.loopback and "GLOO_SOCKET_IFNAME" not in os.environ:
        loopback = next((name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}), None)
        if loopback:
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
