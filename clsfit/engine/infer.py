"""One forward pass over pictures, under validation, evaluation and prediction alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import torch

from clsfit.engine.precision import Precision
from clsfit.engine.sums import Sums
from clsfit.pipeline.loader import Batch


def infer(
    model: torch.nn.Module, batches: Iterable[Batch], precision: Precision
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Each batch with its logits, [B, K] float32 on the device, in order; the model is in eval mode."""
    model.eval()
    for batch in batches:
        with torch.inference_mode(), precision.autocast():
            logits = model(batch.images)
        yield batch, logits.float()


def evaluate(
    model: torch.nn.Module,
    loss: torch.nn.Module,
    batches: Iterable[Batch],
    precision: Precision,
    sums: Sums,
    each: Callable[[Batch, torch.Tensor], None] | None = None,
) -> Sums:
    """``sums`` with the loss and the metrics over ``batches`` added.

    Args:
        each: also called with every batch and its logits.
    """
    loss.eval()
    with_images = takes_images(loss)
    for batch, logits in infer(model, batches, precision):
        with torch.inference_mode():
            values = loss(logits, batch.targets, images=batch.images) if with_images else loss(logits, batch.targets)
            sums.add(logits, batch.targets, loss_sum(values, batch))
        if each is not None:
            each(batch, logits)
    return sums


def loss_sum(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum over a batch's samples, scalar, of what a loss returned: [B], or a mean over the batch.

    Samples' weights multiply their losses. (A mean with weights is refused when the run is built.)
    """
    if values.ndim == 0:
        return values * len(batch.targets)
    return values.sum() if batch.weights is None else (values * batch.weights).sum()


def takes_images(loss: torch.nn.Module) -> bool:
    """Whether the loss's forward names a parameter ``images``."""
    forward = loss.forward
    return _names_images(getattr(forward, "__func__", forward))


@lru_cache(16)  # asked for twice in each epoch, of which a small data set has many in a second
def _names_images(function: Callable[..., Any]) -> bool:
    return "images" in inspect.signature(function).parameters
