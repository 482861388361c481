"""What is measured: batches alone, the run's own loop, and a loop written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from clsfit.engine import fit
from clsfit.engine.blame import raise_blamed
from clsfit.engine.infer import takes_images
from clsfit.engine.run import Run
from clsfit.pipeline.batches import Bounds
from clsfit.pipeline.loader import Batch, Loader, Share
from clsfit.timing.meter import Meter, pace_of
from clsfit.timing.results import Pace

Build = Callable[[], Run]
"""Makes a fresh run."""


_ANEW = 4  # steps in which a run that was made again compiles, or records its graph


class Feed:
    """What stands in a loader's place: its batches, or always the same one, under a meter's eyes."""

    def __init__(self, loader: Loader, meter: Meter, static: Batch | None = None) -> None:
        self._loader, self._meter, self._static = loader, meter, static

    def batches(
        self,
        rows: npt.NDArray[np.int64],
        bounds: Sequence[Bounds],
        *,
        epoch: int | None = None,
        share: Share | None = None,
    ) -> Iterator[Batch]:
        """See :meth:`clsfit.pipeline.loader.Loader.batches`."""
        if self._static is None:
            return self._meter.watched(self._loader.batches(rows, bounds, epoch=epoch, share=share))
        batch = self._static
        return self._meter.watched(_first(batch, stop - start) for start, stop in bounds)

    @classmethod
    def into(cls, run: Run, meter: Meter, static: Batch | None = None) -> None:
        """Lets ``run`` train on what the feed gives."""
        run.train = replace(run.train, loader=cast("Loader", cls(run.train.loader, meter, static)))


def data_pace(build: Build, seconds: float) -> Pace:
    """Batches for training, made and thrown away, epoch after epoch."""
    run = build()
    with _blamed(run):
        meter = Meter(seconds, partial(settle, run.device))
        Feed.into(run, meter)
        while not meter.done:
            for _ in run.epoch_batches():
                if meter.done:
                    break
            meter.close()
            run.epoch += 1
    return pace_of(meter)


def own_loop(build: Build, seconds: float, *, static: bool) -> Meter:
    """The run's own loop: its training parts are counted, what is between them is not.

    Args:
        build: makes the run; again where its epochs are over before ``seconds`` are.
        seconds: how long to measure.
        static: whether each batch is the first one of an epoch, which is there already.

    Raises:
        DivergedError: a loss or a gradient was not finite.
    """
    meter: Meter | None = None
    while meter is None or not meter.done:
        run = build()
        with _blamed(run):
            if meter is None:
                meter = Meter(seconds, partial(settle, run.device))
            else:
                meter.skip(min(_ANEW, run.total_steps // 2))
            meter.enough = partial(run.stop, "measured")
            Feed.into(run, meter, static_batch(run) if static else None)
            _train(run, meter)
    return meter


def _train(run: Run, meter: Meter) -> None:
    """Trains ``run`` until its epochs are over or enough is measured."""
    try:
        fit.start(run)
        while run.epoch < run.epochs and not meter.done:
            fit.train_epoch(run)
            meter.close()
            if run.step - run.epoch_start == run.steps_per_epoch and not meter.done:
                fit.validate(run)
                fit.end_epoch(run)
            run.stop_reason = ""  # a callback's wish to end the training is none to end the measurement
    finally:
        run.saver.close()
        run.hooks.tell_all("on_fit_end", run=run)


def static_batch(run: Run, times: int = 1) -> Batch:
    """The first batch of an epoch, by itself in memory.

    Args:
        run: whose batch it is.
        times: how often each of its pictures is in it.
    """
    batch = next(run.epoch_batches())
    weights = None if batch.weights is None else torch.cat([batch.weights] * times)
    images = batch.images.clone() if times == 1 else torch.cat([batch.images] * times)
    return Batch(images, torch.cat([batch.targets] * times), weights, np.concatenate([batch.rows] * times), {})


def _first(batch: Batch, count: int) -> Batch:
    if count >= len(batch.rows):  # the last batch of an epoch may have one picture more than others: not this one
        return batch
    weights = None if batch.weights is None else batch.weights[:count]
    return Batch(batch.images[:count], batch.targets[:count], weights, batch.rows[:count], {})


def hand_written(
    build: Build, seconds: float, *, times: int = 1, threads: int | None = None
) -> tuple[Meter | None, str]:
    """A training loop as one writes it by hand in torch, on one batch: nothing is checked, nothing counted.

    Args:
        build: makes the run whose model, loss, optimizer and precision are used.
        seconds: how long to measure.
        times: the batch is so many times as large.
        threads: of the arithmetic on the CPU; None: as they are.

    Returns:
        What it took, and the optimizer's name; None, and why, where there is no such loop.
    """
    run = build()
    if getattr(run.optimizer, "needs_closure", False):
        return None, "none: the optimizer evaluates the loss more than once in a step"
    before = torch.get_num_threads()
    try:
        with _blamed(run):
            batch = static_batch(run, times)
            optimizer = plain_optimizer(run)
            torch.set_num_threads(threads or before)
            return _loop(run, batch, optimizer, seconds), f"{type(optimizer).__module__}.{type(optimizer).__name__}"
    finally:
        torch.set_num_threads(before)


def _loop(run: Run, batch: Batch, optimizer: Any, seconds: float) -> Meter:
    model, loss, images, targets = run.model.train(), run.loss.train(), batch.images, batch.targets
    extra = {"images": images} if takes_images(loss) else {}
    scaler = torch.amp.GradScaler(run.device.type, enabled=run.precision.name == "fp16")
    meter = Meter(seconds, partial(settle, run.device))
    for _ in meter.watched(repeat(batch)):
        if meter.done:
            break
        with run.precision.autocast():
            value = loss(model(images), targets, **extra).mean()
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
    return meter


def plain_optimizer(run: Run) -> Any:
    """torch's optimizer of the same name, over the same groups; the run's own where torch has none like it."""
    own = run.optimizer
    known = getattr(torch.optim, type(own).__name__, None)
    if known is None:
        return own
    takes = inspect.signature(known).parameters.keys()
    groups = [{key: value for key, value in group.items() if key in takes} for group in own.param_groups]
    try:
        return known(groups)
    except (TypeError, ValueError):  # another one of that name
        return own


def settle(device: torch.device) -> None:
    """Waits until ``device`` has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _blamed(run: Run) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise_blamed(run.mode.explained(error), run.packages, batch_size=run.batch_size)
