"""Pictures cut one by one on the host, each by one antialiased resize."""

from __future__ import annotations

import threading
from functools import partial

import torch

from clsfit.pipeline import warp
from clsfit.pipeline.buffers import Buffers
from clsfit.pipeline.jobs import Cut, Job, Reader
from clsfit.pipeline.resident import move

_GROUP = 16  # streamed canvases held at once while a batch is cut: they are large, others are held anyway


class OneByOne:
    """The form for a CPU, where many small resizes are faster than large products.

    Args:
        reader: reads the canvases.
        device: where the pictures go.
        buffers: where they are cut, unless the memory has to be pinned.
    """

    form = "cut one by one"

    def __init__(self, reader: Reader, device: torch.device, buffers: Buffers) -> None:
        self._reader, self._device, self._buffers = reader, device, buffers

    def cut(self, job: Job, stop: threading.Event) -> Cut:
        """See :class:`clsfit.pipeline.jobs.Cutter`: everything is done here, but sending."""
        finish, count = self._reader.finish, len(job.rows)
        shape = (count, *finish.input_size, finish.channels)
        if self._device.type == "cuda":
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            pixels = self._buffers.empty(shape, dtype=torch.uint8)
        reading = self._reader.read(job, stop)
        for group in reading.groups(_GROUP if self._reader.canvases.tier == "stream" else max(1, count)):
            for k, canvas in enumerate(group.canvases):
                warp.cut(canvas, group.plan, k, pixels[group.first + k])
        return Cut(reading.complete(), reading.errors, partial(move, pixels.permute(0, 3, 1, 2), self._device))
