"""Samplers: the order of an epoch, as a function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clsfit import keyed


class Shuffle:
    """Every picture once per epoch, in a new random order.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def order(self, epoch: int, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[N] int64, a permutation of the positions in ``targets`` [N] int64."""
        return keyed.permutation(keyed.key(self.seed, "order", epoch), len(targets))
