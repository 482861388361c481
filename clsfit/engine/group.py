"""Several processes that train one run: each takes its part of every batch, and all have the same weights.

After every step gradients are added up over the ranks and running statistics (of BatchNorm) averaged by samples, so
that all ranks hold the same bits. Whatever a run decides is decided by all: losses that are not finite are found in
what was added up; signals, saves and stops are told to all before one of them acts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from clsfit.distributed.meeting import Meeting
from clsfit.engine.exchange import Exchange
from clsfit.engine.ranks import Reduce
from clsfit.engine.state import flatten, from_blob, to_blob, unflatten
from clsfit.engine.sums import Sums
from clsfit.errors import ClsfitError, LostPeerError
from clsfit.keyed import key
from clsfit.pipeline.batches import Bounds, Window, part
from clsfit.pipeline.loader import Share
from clsfit.storage.checkpoints import Checkpoint

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class Group:
    """The ranks of a run; see :class:`clsfit.engine.ranks.Ranks`.

    Args:
        meeting: where every rank has arrived.
    """

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.world_size = meeting.place.rank, meeting.place.world_size
        self._exchange = Exchange(meeting)

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:  # else others may wait for what will not come
            self._exchange.close()

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
                self._exchange.send(tensor)

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
        self._exchange.add_up(flat)
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
        self._exchange.add_up(flat)
        flat /= samples
        for buffer, values in zip(buffers, flat.split_with_sizes([buffer.numel() for buffer in buffers]), strict=True):
            mean = values.view(buffer.shape)
            buffer.copy_(mean if buffer.is_floating_point() else mean.round())

    def merged(self, sums: Sums, fresh: Callable[[], Sums]) -> Sums:
        """See :class:`clsfit.engine.ranks.Ranks`: added in the order of the ranks, on every one of them."""
        tensors: dict[str, torch.Tensor] = {}
        state = json.dumps(flatten(sums.state_dict(), "sums", tensors)).encode()
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        states, blobs = self._exchange.gather(state), self._exchange.gather(to_blob(tensors))
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

        Callbacks ask every rank to save, by its own clock; rank 0 alone is heard, which does it.
        """
        mine = run.interrupt or run.save_told or run.stop_reason or (self.rank == 0 and run.save_due)
        if not self._exchange.any(bool(mine)):
            return False
        self.settle(run)
        return True

    def settle(self, run: Run) -> None:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        mine = [run.interrupt, run.save_told, self.rank == 0 and run.save_due, run.stop_reason]
        interrupts, told, due, reasons = zip(
            *(json.loads(each) for each in self._exchange.gather(json.dumps(mine).encode())), strict=True
        )
        run.leaving = next(filter(None, interrupts), 0)
        # of what was gathered only: a signal that came meanwhile is known to this rank alone
        run.save_due = any(told) or any(due)
        run.save_told = run.save_told or any(told)
        run.stop_reason = next(filter(None, reasons), "")

    def same(self, saved: Checkpoint | None) -> Checkpoint | None:
        """See :class:`clsfit.engine.ranks.Ranks`; the others get its content."""
        content = saved.content() if saved is not None else {}
        head = None if saved is None else [saved.step, str(saved.path), {name: len(content[name]) for name in content}]
        told = json.loads(self._exchange.broadcast(json.dumps(head).encode()))
        if told is None:
            return None
        step, path, sizes = told
        files = {name: self._exchange.broadcast(content.get(name, b"")) for name in sizes}
        return saved if saved is not None else Sent(step, Path(path), {}, files)

    def alike(self, told: str) -> bool:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        return len(set(self._exchange.gather(told.encode("utf-8", "surrogateescape")))) == 1

    def meet(self) -> None:
        """See :class:`clsfit.engine.ranks.Ranks`."""
        self._exchange.gather(b"")


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
                error.say_first(str(place))
        raise
    meeting.leave()
