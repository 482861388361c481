"""Samplers: the order of an epoch, as a function of (seed, epoch)."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import numpy.typing as npt

from clsfit import keyed

Positions = npt.NDArray[np.int64]

_UNIT = 1 << 20  # of a class's share


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
    """Pictures by class in other shares than there are, N in each epoch, in a new random order.

    Without a temperature each of the K classes that have pictures gets N // K positions; the classes take
    turns at those left over, from epoch to epoch. With a temperature T the share of a class with n pictures is
    proportional to n**(1/T), as for languages in Arivazhagan et al. 2019, https://arxiv.org/abs/1907.05019: 1
    leaves the shares as they are, and the higher, the more equal they are. It then gets its share of the N
    positions, give or take less than two in an epoch and less than one in all epochs together.

    A class deals its pictures from an endless row of random permutations of them, which each epoch goes on
    with: at any time its pictures have been seen equally often, but for one. Nothing is drawn by chance with
    replacement.

    Args:
        seed: the run's seed.
        temperature: T >= 1, or None: all shares are the same.
    """

    def __init__(self, seed: int, temperature: float | None = None) -> None:
        self.seed, self.temperature = seed, temperature

    def order(self, epoch: int, targets: Positions) -> Positions:
        """[N] int64, positions in ``targets`` [N] int64."""
        if len(targets) == 0:
            return np.empty(0, dtype=np.int64)
        _, counts = np.unique(targets, return_counts=True)
        start, stop = (self._dealt(each, len(targets), counts) for each in (epoch, epoch + 1))
        # Whole permutations, from the one in which the epoch begins to the one in which it ends.
        first = start // counts
        rounds = (stop - 1) // counts - first + 1
        row = self._row(np.argsort(targets, kind="stable"), counts, first, rounds)
        skipped = start - first * counts
        chosen = row[_ranges(_starts(rounds * counts) + skipped, stop - start)]
        return chosen[keyed.permutation(keyed.key(self.seed, "order", epoch), len(chosen))]

    def _dealt(self, epoch: int, size: int, counts: Positions) -> Positions:
        """[K] how many pictures each class has dealt before ``epoch``, in epochs of ``size``."""
        if self.temperature is None:
            share, left = divmod(size, len(counts))
            return epoch * share + (epoch * left + np.arange(len(counts))[::-1]) // len(counts)
        # By sums over classes in whole numbers, so that an epoch has its size to the picture.
        wanted = [round(count ** (1 / self.temperature) * _UNIT) for count in counts.tolist()]
        bounds = list(accumulate(wanted, initial=0))
        return np.diff([epoch * size * bound // bounds[-1] for bound in bounds]).astype(np.int64)

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


def _starts(lengths: Positions) -> Positions:
    """Where each of consecutive pieces begins."""
    return np.cumsum(lengths) - lengths


def _ranges(starts: Positions, lengths: Positions) -> Positions:
    """``starts[i], starts[i] + 1, ...``, ``lengths[i]`` numbers, for one i after the other."""
    return np.repeat(starts - _starts(lengths), lengths) + np.arange(lengths.sum())
