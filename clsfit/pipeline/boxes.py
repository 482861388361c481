"""Pictures cut many at once on the device, out of canvases that lie there or out of boxes that are sent."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from clsfit.pipeline import products, warp
from clsfit.pipeline.jobs import Cut, Group, Job, Reader
from clsfit.pipeline.resident import Padded, even, move, put, send

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_GROUP = 64  # samples whose boxes are sent as one tensor; their canvases are held meanwhile


class InBatches:
    """The form for a GPU: two products cut a whole batch; rotations and the like are cut on the host.

    Args:
        reader: reads the canvases.
        device: where the pictures go.
        store: the canvases, where they lie on the device; None: boxes of them are sent.
    """

    def __init__(self, reader: Reader, device: torch.device, store: Padded | None) -> None:
        self._reader, self._device, self._store = reader, device, store
        self.form = f"cut in batches on {device}"

    def cut(self, job: Job, stop: threading.Event) -> Cut:
        """See :class:`clsfit.pipeline.jobs.Cutter`: packs boxes, and cuts what is no box."""
        return self._sent(job, stop) if self._store is None else self._resident(self._store, job)

    def _resident(self, store: Padded, job: Job) -> Cut:
        canvases, finish, draws = self._reader.canvases, self._reader.finish, self._reader.draws
        places, sizes = store.places(job.rows), canvases.sizes[job.rows]
        job = job if job.drawn is not None else draws.complete(job, sizes)
        assert job.drawn is not None
        plan = warp.plan(finish.input_size, sizes, finish.windows(sizes), job.drawn.matrices)
        spans, general = _boxed(plan), np.flatnonzero(plan.general)
        warped = self._empty((len(general), *finish.input_size, finish.channels))
        for out, k in zip(warped, general.tolist(), strict=True):
            warp.cut(canvases.get(int(job.rows[k])), plan, k, out)
        table, most = products.boxes(spans, plan.flips), products.taps(spans)
        return Cut(job, {}, partial(self._of_store, store, places, table, most, general, warped))

    def _of_store(
        self, store: Padded, places: Ints, table: Ints, most: int, general: Ints, warped: torch.Tensor
    ) -> torch.Tensor:
        boxes, which = send(table, self._device), send(places, self._device)
        images = products.cut(store.store, boxes, most, self._reader.finish.input_size, which)
        return self._with(images, general, warped)

    def _sent(self, job: Job, stop: threading.Event) -> Cut:
        finish = self._reader.finish
        packed: list[tuple[torch.Tensor, int]] = []
        tables: list[Ints] = []
        general: list[int] = []
        warped: list[torch.Tensor] = []
        reading = self._reader.read(job, stop)
        for group in reading.groups(_GROUP):
            spans = _boxed(group.plan)
            packed.append((self._packed(group, spans), products.taps(spans)))
            tables.append(products.boxes(_moved(spans), group.plan.flips))
            for k in np.flatnonzero(group.plan.general).tolist():
                warped.append(torch.empty((*finish.input_size, finish.channels), dtype=torch.uint8))
                warp.cut(group.canvases[k], group.plan, k, warped[-1])
                general.append(group.first + k)
        shape = (len(general), *finish.input_size, finish.channels)
        joined = torch.stack(warped, out=self._empty(shape)) if warped else self._empty(shape)
        table = np.concatenate(tables) if tables else np.zeros((0, 10), dtype=np.int64)
        images = partial(self._of_packed, packed, table, np.array(general, dtype=np.int64), joined)
        return Cut(reading.complete(), reading.errors, images)

    def _packed(self, group: Group, spans: Ints) -> torch.Tensor:
        """uint8 [g, H, W, C]: the boxes of the canvases, each in a top left corner; the rest is anything."""
        high, wide = (spans[:, [1, 5]] - spans[:, [0, 4]]).max(0, initial=1).tolist()
        pixels = self._empty((len(spans), even(high), even(wide), self._reader.finish.channels))
        for out, canvas, span in zip(pixels.numpy(), group.canvases, spans.tolist(), strict=True):
            put(canvas[span[0] : span[1], span[4] : span[5]], out)
        return pixels

    def _of_packed(
        self, packed: list[tuple[torch.Tensor, int]], table: Ints, general: Ints, warped: torch.Tensor
    ) -> torch.Tensor:
        boxes, size, first = send(table, self._device), self._reader.finish.input_size, 0
        made = []
        for pixels, most in packed:
            own = boxes[first : first + len(pixels)]
            made.append(products.cut(move(pixels, self._device).permute(0, 3, 1, 2), own, most, size))
            first += len(pixels)
        return self._with(made[0] if len(made) == 1 else torch.cat(made), general, warped)

    def _with(self, images: torch.Tensor, general: Ints, warped: torch.Tensor) -> torch.Tensor:
        """``images`` with the samples ``general`` replaced by ``warped`` uint8 [G, h, w, C]."""
        if len(general):
            images.index_copy_(0, send(general, self._device), move(warped, self._device).permute(0, 3, 1, 2))
        return images

    def _empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")


def _boxed(plan: warp.Plan) -> Ints:
    """The plan's spans [N, 8], empty where a sample is no box."""
    return np.where(plan.general[:, None], 0, plan.spans)


def _moved(spans: Ints) -> Ints:
    """``spans`` [N, 8] of canvases of which only the boxes are left."""
    moved = spans.copy()
    moved[:, :2] -= spans[:, :1]
    moved[:, 4:6] -= spans[:, 4:5]
    return moved
