"""Batches from canvases: the same bits from every tier, for any number of workers.

Where all canvases have the input size, they lie on the device as one uint8 tensor, and several micro-batches
are made by one indexing. Others are cut, whole micro-batches in worker threads, delivered in order, in one of
two forms, which follows from the kind of device: one by one on the host (:mod:`clsfit.pipeline.samples`), or many
at once on the device (:mod:`clsfit.pipeline.boxes`).

Pictures stay uint8 until they are on the device; normalising is the last step there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.pipeline.augment import Augmentation, Drawn, Parameters, look_up
from clsfit.pipeline.batches import Bounds, runs
from clsfit.pipeline.boxes import InBatches
from clsfit.pipeline.buffers import Buffers
from clsfit.pipeline.finish import Finish
from clsfit.pipeline.jobs import Cut, Cutter, Draws, Job, Reader
from clsfit.pipeline.resident import Form, Resident, form_of, send, store_of, why_not
from clsfit.pipeline.samples import OneByOne
from clsfit.pipeline.workers import in_order

if TYPE_CHECKING:
    from clsfit.data.canvases import Canvases

Ints = npt.NDArray[np.int64]

_CHUNK_BATCHES = 64
_CHUNK_BYTES = 8 << 20  # of normalised pictures: about what a core's share of the cache holds
_NONE: Ints = np.zeros(0, dtype=np.int64)
Share = Callable[[Bounds], Bounds | None]
"""What of a micro-batch is this rank's: [start, stop) within it, or None."""


@dataclass(slots=True)
class Batch:
    """One micro-batch.

    Attributes:
        images: float32 [B, C, H, W], normalised, on the device.
        targets: int64 [B], or float [B, K] where an augmentation made them so, on the device.
        weights: float32 [B] on the device, or None.
        rows: int64 [B], rows of the table.
        errors: index in the batch -> why that picture cannot be read; it is black.
    """

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None
    rows: Ints
    errors: dict[int, str]


class Loader:
    """Makes batches of rows of one table, in any order.

    Args:
        canvases: the prepared pictures.
        targets: int64 [N], a class per row.
        finish: how a canvas becomes the model's input.
        device: where batches go.
        augments: for passes that give an epoch; others apply what of them is ``always``. None: none.
        seed: the run's.
        workers: threads for the host's part where pictures are cut; 0: the calling thread. Where processes decode,
            threads wait for them and do the rest.
        weights: [N], a weight per row, or None.
        class_weights: [K], a weight per class, times the row's; or None. Of soft targets it is their mean.
        memory_format: of the batches' images.
        tolerate: an unreadable picture is black and listed in :attr:`Batch.errors`, not an error.
        form: how pictures are cut; None: as the kind of ``device`` has it. A batch's bits depend on it.

    Attributes:
        tier: ``resident``, ``memory``, ``disk`` or ``stream``.
        times: see :class:`clsfit.data.canvases.Canvases`.
    """

    def __init__(
        self,
        canvases: Canvases,
        targets: Ints,
        finish: Finish,
        *,
        device: torch.device | str,
        augments: Augmentation | None = None,
        seed: int = 0,
        workers: int = 0,
        weights: npt.NDArray[np.floating[Any]] | None = None,
        class_weights: npt.NDArray[np.floating[Any]] | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        tolerate: bool = False,
        form: Form | None = None,
    ) -> None:
        self._canvases, self._finish, self._device = canvases, finish, torch.device(device)
        self._draws = Draws(finish, augments or Augmentation([]), seed)
        self._workers, self._form = workers, form or form_of(self._device)
        self._targets = send(np.ascontiguousarray(targets, dtype=np.int64), self._device)
        self._weights, self._class_weights = (
            None if given is None else send(np.ascontiguousarray(given, dtype=np.float32), self._device)
            for given in (weights, class_weights)
        )
        self._memory_format, self._buffers = memory_format, Buffers()
        self._why_not = why_not(canvases, finish, self._device, self._form)
        self._store = None if self._why_not else store_of(canvases, finish, self._device, self._form, workers)
        self._cutter = self._cutter_of(Reader(canvases, finish, self._draws, tolerate))
        self.tier: str = "resident" if self._store is not None else canvases.tier
        self.times = canvases.times

    def _cutter_of(self, reader: Reader) -> Cutter:
        if self._form == "sample":
            return OneByOne(reader, self._device, self._buffers)
        return InBatches(reader, self._device, None if isinstance(self._store, Resident) else self._store)

    def describe(self) -> str:
        """One line for the user: which tier, and why; and how pictures are cut."""
        decoded_by = self._canvases.decoded_by
        decoded = f", decoded by {decoded_by}" if decoded_by else ""
        if self._store is not None:
            high, wide = self._canvases.sizes.max(0).tolist()
            size = "the input size" if isinstance(self._store, Resident) else f"up to {high}x{wide}"
            form = f", {self._cutter.form}" if self._form == "batch" else ""
            where = f"{self._store.store.numel() / 2**20:.1f} MiB, resident on {self._device}{decoded}{form}"
            return f"{len(self._targets):,} pictures of {size}, {where}"
        workers = f"{self._workers} threads" if self._workers else "no threads"
        if self.tier == "stream" and decoded_by:
            workers, decoded = decoded_by, ""
        how = f"{workers}, {self._cutter.form}"
        return f"{self.tier} ({self._canvases.why}){decoded}, {how}; not resident: {self._why_not}"

    def batches(
        self, rows: Ints, bounds: Sequence[Bounds], *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[Batch]:
        """The micro-batches of one pass over data.

        Args:
            rows: int64 [M], the rows of the table in the order of the pass.
            bounds: [start, stop) of each micro-batch within ``rows``. Draws are keyed by positions
                within ``rows``, so a list that starts at a later bound gives the same batches.
            epoch: from 0, for augmentation; None: no augmentation.
            share: what of each micro-batch is wanted, as if it were cut from the whole; those of which
                nothing is are left out. None: all of it.

        Raises:
            PictureError: a picture cannot be read, unless they are tolerated.
            PluginError: an augmentation breaks its contract.
        """
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        if share is not None:
            shares = [share(whole) for whole in bounds]
            if self._draws.chosen(epoch).applies:  # it mixes samples of different ranks: each makes the whole
                return _parts(self.batches(rows, bounds, epoch=epoch), bounds, shares)
            bounds = [own for own in shares if own is not None]
        if isinstance(self._store, Resident):
            return self._resident(self._store, rows, bounds, epoch)
        return self._cut(rows, bounds, epoch)

    def _complete(
        self,
        images: torch.Tensor,
        rows: Ints,
        index: torch.Tensor,
        epoch: int | None,
        applied: list[Parameters],
        errors: dict[int, str],
    ) -> Batch:
        """A batch from uint8 ``images`` on the device, whose rows are there as ``index``."""
        targets = self._targets.index_select(0, index)
        weights = None if self._weights is None else self._weights.index_select(0, index)
        if applied:
            images, targets, weights = self._draws.chosen(epoch).apply(images, targets, applied, weights)
        if self._class_weights is not None:
            own = self._class_weights
            soft = targets.is_floating_point()
            by_class = targets.to(own.dtype) @ own if soft else own.index_select(0, targets)
            weights = by_class if weights is None else weights * by_class
        values = self._finish.normalise(images, self._memory_format, self._buffers)
        return Batch(values, targets, weights, rows, errors)

    def _resident(self, store: Resident, rows: Ints, bounds: Sequence[Bounds], epoch: int | None) -> Iterator[Batch]:
        high, wide = self._finish.input_size
        chosen = self._draws.chosen(epoch)
        for chunk in runs(bounds, _CHUNK_BYTES // (4 * self._finish.channels * high * wide), _CHUNK_BATCHES):
            lengths = [stop - start for start, stop in chunk]
            first, last = chunk[0][0], chunk[-1][1]
            if last - first == sum(lengths) and all(a[1] == b[0] for a, b in pairwise(chunk)):
                positions = np.arange(first, last) if chosen else _NONE
                part = rows[first:last]  # one after the other, as they nearly always are: nothing to put together
            else:
                positions = np.concatenate([np.arange(start, stop) for start, stop in chunk])
                part = rows[positions]
            ends = list(accumulate(lengths))
            parts = [part[end - length : end] for end, length in zip(ends, lengths, strict=True)]
            index = send(part, self._device)
            drawn = self._draws.draw(positions, self._canvases.sizes[part], epoch) if chosen else Drawn(None, None)
            images = store.gather(part, index, drawn)
            if chosen.applies:  # what mixes the samples of a micro-batch must see it as it is
                pieces = zip(
                    images.split_with_sizes(lengths), parts, index.split_with_sizes(lengths), chunk, strict=True
                )
                for pixels, own, own_index, (start, stop) in pieces:
                    applied = self._draws.draw_applied(np.arange(start, stop), self._canvases.sizes[own], epoch)
                    yield self._complete(pixels, own, own_index, epoch, applied, {})
                continue
            whole = self._complete(images, part, index, epoch, [], {})
            weights: Sequence[torch.Tensor | None] = [None] * len(chunk)
            if whole.weights is not None:
                weights = whole.weights.split_with_sizes(lengths)
            split = zip(
                whole.images.split_with_sizes(lengths),
                whole.targets.split_with_sizes(lengths),
                weights,
                parts,
                strict=True,
            )
            for pixels, targets, weight, own in split:
                yield Batch(pixels, targets, weight, own, {})

    def _cut(self, rows: Ints, bounds: Sequence[Bounds], epoch: int | None) -> Iterator[Batch]:
        jobs = self._draws.jobs(rows, bounds, epoch, self._canvases.sizes)
        if self._device.type == "cpu" and self._form == "sample":  # nothing is left for another device
            yield from in_order(self._cut_and_complete, jobs, self._workers)
            return
        for cut in in_order(self._cutter.cut, jobs, self._workers):
            yield self._completed(cut)

    def _cut_and_complete(self, job: Job, stop: threading.Event) -> Batch:
        return self._completed(self._cutter.cut(job, stop))

    def _completed(self, cut: Cut) -> Batch:
        images, job = cut.images(), cut.job
        if job.drawn is not None and job.drawn.tables is not None:
            images = look_up(images, send(job.drawn.tables, self._device))
        index = send(job.rows, self._device)
        return self._complete(images, job.rows, index, job.epoch, job.applied, cut.errors)


def _parts(batches: Iterator[Batch], bounds: Sequence[Bounds], shares: Sequence[Bounds | None]) -> Iterator[Batch]:
    """Of each batch the samples of its share."""
    for batch, whole, own in zip(batches, bounds, shares, strict=True):
        if own is not None:
            first, last = own[0] - whole[0], own[1] - whole[0]
            yield Batch(
                batch.images[first:last],
                batch.targets[first:last],
                None if batch.weights is None else batch.weights[first:last],
                batch.rows[first:last],
                {place - first: why for place, why in batch.errors.items() if first <= place < last},
            )
