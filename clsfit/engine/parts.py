"""The pictures of a split, and the order that a sampler gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsfit.contracts import Sampler
from clsfit.errors import PluginError
from clsfit.pipeline.loader import Loader


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of one split.

    Attributes:
        loader: makes batches of them.
        rows: [N] int64, their rows in the sample table.
        targets: [N] int64.
        paths: of the whole table, to name pictures by their row.
    """

    loader: Loader
    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    paths: tuple[str, ...]


def order_of(sampler: Sampler, epoch: int, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order of ``epoch``, int64 [M].

    Raises:
        PluginError: it is no list of positions in ``targets`` (a negative one would count from the end).
    """
    order = np.asarray(sampler.order(epoch, targets))
    if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
        raise broken_order(sampler, f"{order.dtype} {list(order.shape)} instead of positions [M]")
    if order.min() < 0 or order.max() >= len(targets):
        raise broken_order(sampler, f"positions {order.min()} to {order.max()} in a set of {len(targets)}")
    return order.astype(np.int64, copy=False)


def broken_order(sampler: Sampler, reason: str) -> PluginError:
    """The error for a sampler that gave something else than an order."""
    return PluginError(
        f"the sampler gave {reason}",
        f"{type(sampler).__module__}.{type(sampler).__name__}",
        "see clsfit.contracts.Sampler for what it owes",
    )
