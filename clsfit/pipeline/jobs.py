"""What a micro-batch is made from: its draws, then its canvases, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from clsfit.data.decode import PictureError
from clsfit.pipeline import warp
from clsfit.pipeline.augment import Augmentation, Drawn, Parameters
from clsfit.pipeline.batches import Bounds, runs
from clsfit.pipeline.finish import Finish

if TYPE_CHECKING:
    from clsfit.data.canvases import Canvases

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_DRAWN = 512  # samples drawn at once: a draw of a few takes as long as one of hundreds


@dataclass(frozen=True, slots=True)
class Job:
    """A micro-batch to be cut; everything random is already drawn.

    Without chance nothing is: what is always applied follows from the canvases' sizes, which a stream
    that was never checked does not know before they are decoded.
    """

    rows: Ints
    positions: Ints
    epoch: int | None
    drawn: Drawn | None
    applied: list[Parameters]


@dataclass(frozen=True, slots=True)
class Cut:
    """A micro-batch whose pictures are cut, or need only the device for it.

    Attributes:
        job: with all that is drawn.
        errors: index in the batch -> why that picture cannot be read; it is black.
        images: gives the pictures, uint8 [B, C, h, w] on the device; called once, by the thread that uses them.
    """

    job: Job
    errors: dict[int, str]
    images: Callable[[], torch.Tensor]


class Cutter(Protocol):
    """One of the two forms in which pictures are cut.

    Attributes:
        form: as the user is told.
    """

    form: str

    def cut(self, job: Job, stop: threading.Event) -> Cut:
        """Does the host's part, in any thread.

        Args:
            job: what to cut.
            stop: once it is set, nobody will look at the result.
        """


class Draws:
    """Everything random of a run's pictures.

    Args:
        finish: how a canvas becomes the model's input.
        augments: for passes that give an epoch; others apply what of them is ``always``.
        seed: the run's.
    """

    def __init__(self, finish: Finish, augments: Augmentation, seed: int) -> None:
        self._finish, self._augments, self._seed = finish, augments, seed
        self._without_chance = augments.without_chance()

    def chosen(self, epoch: int | None) -> Augmentation:
        """The augmentations of a pass."""
        return self._without_chance if epoch is None else self._augments

    def draw(self, positions: Ints, sizes: Ints, epoch: int | None) -> Drawn:
        """Matrices and tables of samples whose canvases have ``sizes`` [N, 2]."""
        if not self.chosen(epoch):
            return Drawn(None, None)
        extents = self._finish.extents(sizes)
        return self.chosen(epoch).draw(self._seed, epoch or 0, positions, extents, self._finish.input_size)

    def draw_applied(self, positions: Ints, sizes: Ints, epoch: int | None) -> list[Parameters]:
        """For what changes a micro-batch as a whole, whose canvases have ``sizes`` [B, 2]."""
        if not self.chosen(epoch).applies:
            return []
        return self.chosen(epoch).draw_applied(self._seed, epoch or 0, positions, self._finish.extents(sizes))

    def jobs(self, rows: Ints, bounds: Sequence[Bounds], epoch: int | None, sizes: Ints) -> Iterator[Job]:
        """The micro-batches ``bounds`` of a pass over ``rows`` of a table whose canvases have ``sizes`` [N, 2]."""
        if epoch is None:
            for start, stop in bounds:
                yield Job(rows[start:stop], np.arange(start, stop), None, None, [])
            return
        for run in runs(bounds, _DRAWN, len(bounds)):
            positions = np.concatenate([np.arange(start, stop) for start, stop in run])
            drawn, first = self.draw(positions, sizes[rows[positions]], epoch), 0
            for start, stop in run:
                own = rows[start:stop]
                part = drawn.part(first, first + len(own))
                yield self.complete(Job(own, np.arange(start, stop), epoch, part, []), sizes[own])
                first += len(own)

    def complete(self, job: Job, sizes: Ints) -> Job:
        """The job with all that is drawn for canvases of ``sizes`` [B, 2]."""
        drawn = job.drawn or self.draw(job.positions, sizes, job.epoch)
        return replace(job, drawn=drawn, applied=self.draw_applied(job.positions, sizes, job.epoch))


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive samples of a micro-batch: those from ``first`` on, their canvases, and how they are cut."""

    first: int
    canvases: list[Bytes]
    plan: warp.Plan


class Reader:
    """Reads the canvases of micro-batches.

    Args:
        canvases: the prepared pictures.
        finish: how a canvas becomes the model's input.
        draws: for what is not drawn before the canvases are read.
        tolerate: an unreadable picture is one black pixel, not an error.
    """

    def __init__(self, canvases: Canvases, finish: Finish, draws: Draws, tolerate: bool) -> None:
        self.canvases, self.finish, self.draws, self.tolerate = canvases, finish, draws, tolerate

    def read(self, job: Job, stop: threading.Event) -> Reading:
        """The reading of one micro-batch, which has not begun."""
        return Reading(self, job, stop)


class Reading:
    """One micro-batch, read a group at a time.

    Attributes:
        errors: index in the batch -> why that picture cannot be read, as far as it was read.
    """

    def __init__(self, reader: Reader, job: Job, stop: threading.Event) -> None:
        self.errors: dict[int, str] = {}
        self._reader, self._job, self._stop = reader, job, stop
        self._sizes: list[Ints] = []
        self._drawn: list[Drawn] = []

    def groups(self, count: int) -> Iterator[Group]:
        """``count`` samples at a time; it ends early once nobody will look at the result.

        Raises:
            PictureError: a picture cannot be read, unless that is tolerated.
        """
        job, finish = self._job, self._reader.finish
        for first in range(0, len(job.rows), count):
            last = min(first + count, len(job.rows))
            canvases = []
            for k in range(first, last):
                if self._stop.is_set():
                    return
                canvases.append(self._canvas(k))
            sizes: Ints = np.array([canvas.shape[:2] for canvas in canvases], dtype=np.int64)
            known = None if job.drawn is None else job.drawn.part(first, last)
            self._sizes.append(sizes)
            self._drawn.append(known or self._reader.draws.draw(job.positions[first:last], sizes, None))
            plan = warp.plan(finish.input_size, sizes, finish.windows(sizes), self._drawn[-1].matrices)
            yield Group(first, canvases, plan)

    def complete(self) -> Job:
        """The job with all that is drawn, once all groups are read."""
        if self._job.drawn is not None or self._stop.is_set():
            return self._job
        job = replace(self._job, drawn=Drawn.joined(self._drawn))
        return self._reader.draws.complete(job, np.concatenate(self._sizes))

    def _canvas(self, k: int) -> Bytes:
        try:
            canvas: Bytes = self._reader.canvases.get(int(self._job.rows[k]))
            return canvas
        except PictureError as error:
            if not self._reader.tolerate:
                raise
            self.errors[k] = str(error)
            return np.zeros((1, 1, self._reader.finish.channels), dtype=np.uint8)
