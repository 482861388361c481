"""Where micro-batches and optimizer steps begin and end within an epoch's order.

Both are known before the epoch starts, so that a step's number of samples, by which its gradient is
divided, is known before its first micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clsfit.errors import ConfigError

Bounds = tuple[int, int]
"""[start, stop) of a micro-batch within the epoch's order."""


class Window(NamedTuple):
    """One optimizer step: its micro-batches, and the number of samples in them."""

    bounds: list[Bounds]
    samples: int


def batch_bounds(n: int, batch_size: int) -> list[Bounds]:
    """Cuts ``n`` samples into consecutive micro-batches of ``batch_size``, the last one shorter.

    A last batch of a single sample joins the batch before it, because a BatchNorm cannot train on
    one sample; with ``batch_size`` 1 there is nothing to join.

    Raises:
        ConfigError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"the batch size is {batch_size}", "--batch-size", "give at least 1")
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1 < batch_size:
        del starts[-1]
    return list(zip(starts, [*starts[1:], n], strict=True)) if starts else []


def part(bounds: Bounds, rank: int, world_size: int) -> Bounds | None:
    """The samples of a micro-batch that are one rank's; None: it has none.

    Every rank has as many as any other, or one more. None has a single one, on which a BatchNorm cannot train:
    the last ranks have none where there are too few for all.
    """
    start, stop = bounds
    taking = max(1, min(world_size, (stop - start) // 2))
    if rank >= taking:
        return None
    return start + (stop - start) * rank // taking, start + (stop - start) * (rank + 1) // taking


def runs(bounds: Sequence[Bounds], samples: int, batches: int) -> Iterator[Sequence[Bounds]]:
    """Micro-batches in runs of at most ``samples`` samples and ``batches`` of them, at least one each."""
    first = taken = 0
    for place, (start, stop) in enumerate(bounds):
        if place > first and (place - first == batches or taken + stop - start > samples):
            yield bounds[first:place]
            first, taken = place, 0
        taken += stop - start
    if first < len(bounds):
        yield bounds[first:]


def windows(bounds: Sequence[Bounds], accumulate: int) -> list[Window]:
    """Groups micro-batches into optimizer steps.

    Args:
        bounds: the epoch's micro-batches.
        accumulate: micro-batches per optimizer step; the last step may have fewer.

    Raises:
        ConfigError: ``accumulate`` is below 1.
    """
    if accumulate < 1:
        raise ConfigError(f"{accumulate} micro-batches per step", "--callback.accumulate.steps", "give at least 1")
    groups = [list(bounds[first : first + accumulate]) for first in range(0, len(bounds), accumulate)]
    return [Window(group, sum(stop - start for start, stop in group)) for group in groups]
