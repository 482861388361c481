"""Samplers: the order of an epoch, as a function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clsfit import keyed

Positions = npt.NDArray[np.int64]


class Shuffle:
    """Every picture once per epoch, in a new random order.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def order(self, epoch: int, targets: Positions) -> Positions:
        """[N] int64, a permutation of the positions in ``targets`` [N] int64."""
        return keyed.permutation(keyed.key(self.seed, "order", epoch), len(targets))


class Balanced:
    """As many pictures of every class, N in each epoch, in a new random order.

    Each of the K classes that have pictures gets N // K positions; the classes take turns at those
    left over, from epoch to epoch. A class deals its pictures from an endless row of random
    permutations of them, which each epoch goes on with: at any time its pictures have been seen
    equally often, but for one. Nothing is drawn by chance with replacement.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def order(self, epoch: int, targets: Positions) -> Positions:
        """[N] int64, positions in ``targets`` [N] int64."""
        if len(targets) == 0:
            return np.empty(0, dtype=np.int64)
        _, counts = np.unique(targets, return_counts=True)
        start, stop = _dealt(epoch, len(targets), len(counts)), _dealt(epoch + 1, len(targets), len(counts))
        # Whole permutations, from the one in which the epoch begins to the one in which it ends.
        first = start // counts
        rounds = (stop - 1) // counts - first + 1
        row = self._row(np.argsort(targets, kind="stable"), counts, first, rounds)
        skipped = start - first * counts
        chosen = row[_ranges(_starts(rounds * counts) + skipped, stop - start)]
        return chosen[keyed.permutation(keyed.key(self.seed, "order", epoch), len(chosen))]

    def _row(self, members: Positions, counts: Positions, first: Positions, rounds: Positions) -> Positions:
        """The classes' permutations, one class after the other.

        Args:
            members: [N] positions of the pictures, sorted by class.
            counts: [K] pictures of each class.
            first: [K] number of each class's first permutation.
            rounds: [K] how many permutations each class gives.

        Returns:
            [sum(rounds * counts)] positions.
        """
        sizes = np.repeat(counts, rounds)
        pictures = members[_ranges(np.repeat(_starts(counts), rounds), sizes)]
        permutation = np.repeat(np.arange(len(sizes)), sizes)
        number = np.repeat(_ranges(first, rounds), sizes)
        draws = keyed.uniform(keyed.key(self.seed, "balanced"), number * len(members) + pictures, 1)[:, 0]
        return pictures[np.lexsort((draws, permutation))]


def _dealt(epoch: int, size: int, classes: int) -> Positions:
    """[K] how many pictures each of K classes has dealt before ``epoch``, in epochs of ``size``."""
    share, left = divmod(size, classes)
    return epoch * share + (epoch * left + np.arange(classes)[::-1]) // classes


def _starts(lengths: Positions) -> Positions:
    """Where each of consecutive pieces begins."""
    return np.cumsum(lengths) - lengths


def _ranges(starts: Positions, lengths: Positions) -> Positions:
    """``starts[i], starts[i] + 1, ...``, ``lengths[i]`` numbers, for one i after the other."""
    return np.repeat(starts - _starts(lengths), lengths) + np.arange(lengths.sum())
