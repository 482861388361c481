"""Which groups are held out: whole ones, so chosen that every class gives its share. No group is divided.

With t = fraction * n, the pictures that a class of n should give, and v, those that it gives, the split
makes small: the mean over classes of ((v - t) / n)**2, plus the same term for all pictures together.
Few groups are tried in all combinations. Many are divided one after the other, large ones first, each to
the side where the shares among those seen so far stay nearest to the fraction; then single groups and
pairs of them change sides as long as that helps. The draws decide among groups of about the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clsfit.data.draws import draws
from clsfit.data.table import SPLITS, SampleTable
from clsfit.errors import DataError, printable

_SHOWN = 3
_LEAST = 1e-12  # smaller gains are rounding
_COMBINED = 14  # groups of which all 16,384 combinations are tried
_COMBINED_CELLS = 1 << 22
# Counts that are looked at, which bounds the time to a few seconds:
_STARTS = 100_000  # at the start of all searches together
_WORK = 20_000_000  # in all improvements together
_PAIRS = 200_000  # for the pairs of one improvement
_MOST_STARTS = 32

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Counts:
    """Pictures of G groups per class, without the zeros; the last of C columns is all classes together.

    Attributes:
        numbers: [E] int64, at least 1; those of a group lie together.
        columns: [E] int64, the class of each.
        starts: [G] int64, where each group's begin.
        lengths: [G] int64, how many each group has.
        totals: [C] int64.
        wanted: [C] float64, ``fraction * totals``.
        importance: [C] float64, what a deviation squared costs.
    """

    numbers: Ints
    columns: Ints
    starts: Ints
    lengths: Ints
    totals: Ints
    wanted: Floats
    importance: Floats

    @classmethod
    def of(cls, groups: Ints, classes: Ints, fraction: float) -> _Counts:
        """Counts the pictures [N] of ``groups`` 0..G-1, each of which occurs, and of any ``classes``."""
        _, places = np.unique(classes, return_inverse=True)
        width = int(places.max()) + 2
        both = np.concatenate((groups * width + places, groups * width + width - 1))
        codes, numbers = np.unique(both, return_counts=True)
        lengths = np.bincount(codes // width)
        columns = codes % width
        totals = np.bincount(columns, weights=numbers).astype(np.int64)
        importance: Floats = 1 / totals.astype(np.float64) ** 2
        importance[:-1] /= width - 1
        starts = np.cumsum(lengths) - lengths
        return cls(
            numbers.astype(np.int64), columns, starts, lengths, totals, fraction * totals.astype(np.float64), importance
        )

    def cost(self, held: Floats | Ints) -> Floats:
        """What is made small, for ``held`` [..., C] pictures per column."""
        return np.asarray((self.importance * (held - self.wanted) ** 2).sum(-1))

    def of_group(self, group: int) -> slice:
        """The place of a group's counts."""
        return slice(int(self.starts[group]), int(self.starts[group] + self.lengths[group]))


class _Side:
    """Which groups are held out, and what changes if one more or one less is.

    Attributes:
        inside: [G] bool.
        held: [C] int64, pictures held out.
    """

    def __init__(self, counts: _Counts, inside: Bools) -> None:
        self.counts, self.inside = counts, inside
        held = np.bincount(
            counts.columns, weights=counts.numbers * np.repeat(inside, counts.lengths), minlength=len(counts.totals)
        )
        self.held: Ints = held.astype(np.int64)

    def flip(self, group: int) -> None:
        """Brings a group to the other side."""
        part, sign = self.counts.of_group(group), -1 if self.inside[group] else 1
        self.held[self.counts.columns[part]] += sign * self.counts.numbers[part]
        self.inside[group] = not self.inside[group]

    def gains(self, *, keep: bool) -> Floats:
        """[G] float64: the cost's change if a group changes sides; inf where it may not.

        Args:
            keep: whether the last group that is held out stays so.
        """
        counts = self.counts
        gap = (2 * counts.importance * (self.held - counts.wanted))[counts.columns]
        signs = np.where(np.repeat(self.inside, counts.lengths), -1.0, 1.0)
        change = counts.numbers * (signs * gap + counts.importance[counts.columns] * counts.numbers)
        gains = np.add.reduceat(change, counts.starts)
        left = (counts.totals - self.held)[counts.columns]
        empties = np.logical_or.reduceat(counts.numbers >= left, counts.starts)  # a class loses its last for training
        gains[empties & ~self.inside] = np.inf
        if keep and self.inside.sum() == 1:
            gains[self.inside] = np.inf
        return gains

    def pair(self) -> tuple[int, int] | None:
        """Two groups that had better change sides together: of those that cost least alone, the best."""
        first = self.gains(keep=False)
        width = max(1, min(64, _PAIRS // len(self.counts.numbers)))
        best, found = -_LEAST, None
        for one in np.argsort(first, kind="stable")[:width].tolist():
            if not np.isfinite(first[one]):
                break
            self.flip(one)
            second = self.gains(keep=True)
            second[one] = np.inf
            self.flip(one)
            other = int(np.argmin(second))
            if first[one] + second[other] < best:
                best, found = float(first[one] + second[other]), (one, other)
        return found


def choose(groups: Sequence[str], classes: npt.NDArray[np.int64], fraction: float, seed: int) -> Bools:
    """[N] bool: the pictures to hold out, all of a group or none.

    It depends on the seed, the groups' names and their pictures per class; the order of the pictures
    makes no difference. At least one group is held out, and every class keeps a picture for training.

    Args:
        groups: N names.
        classes: [N] int64, any numbers.
        fraction: of each class, 0 < fraction < 1.
        seed: any integer.

    Raises:
        DataError: there is one group only, or each holds all pictures of a class.
    """
    names = sorted(set(groups))
    if len(names) == 1:
        raise DataError(
            "all pictures are of one group, so none can be held out",
            f"group {printable(names[0])}",
            "name smaller groups, or give --val-fraction 0",
        )
    ranks = np.argsort(draws(names, seed), kind="stable")  # groups are numbered by their draws from here on
    number = {names[place]: i for i, place in enumerate(ranks.tolist())}
    ids = np.array([number[group] for group in groups], dtype=np.int64)
    counts = _Counts.of(ids, classes, fraction)
    free = np.flatnonzero(np.isfinite(_Side(counts, np.zeros(len(names), dtype=bool)).gains(keep=False)))
    if not len(free):
        raise DataError(
            f"none of the {len(names)} groups can be held out: each has all pictures of a class",
            f"groups {', '.join(printable(name) for name in names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}",
            "name smaller groups, or add pictures of other groups",
        )
    if len(free) <= _COMBINED and len(counts.totals) << len(free) <= _COMBINED_CELLS:
        inside = _best_combination(counts, free)
    else:
        inside = _best_search(counts, [names[place] for place in ranks.tolist()], seed)
    return inside[ids]


def _best_combination(counts: _Counts, free: Ints) -> Bools:
    """[G] bool: the best of all sets of ``free`` groups; of equal ones the first by the draws."""
    table = np.zeros((len(free), len(counts.totals)), dtype=np.int64)
    for row, group in enumerate(free.tolist()):
        part = counts.of_group(group)
        table[row, counts.columns[part]] = counts.numbers[part]
    sets = np.arange(1, 1 << len(free))[:, None] >> np.arange(len(free)) & 1
    held = sets @ table
    cost = np.round(counts.cost(held), 12)  # sums that differ by rounding only are equal
    cost[(held >= counts.totals).any(1)] = np.inf
    inside = np.zeros(len(counts.starts), dtype=bool)
    inside[free[sets[int(np.argmin(cost))] > 0]] = True
    return inside


def _best_search(counts: _Counts, names: Sequence[str], seed: int) -> Bools:
    """[G] bool: the best of a few searches, each from another order of the groups."""
    sizes = np.log2(counts.numbers[counts.starts + counts.lengths - 1]).astype(np.int64)  # about the same size: equal
    found: list[tuple[float, Bools]] = []
    starts = max(1, min(_MOST_STARTS, _STARTS // len(counts.numbers)))
    for start in range(starts):
        drawn = draws(names, seed, start)
        order = np.argsort(drawn, kind="stable") if start % 2 else np.lexsort((drawn, -sizes))
        side = _Side(counts, _divide(counts, order.tolist()))
        _improve(side, _WORK // (starts * len(counts.numbers)))
        found.append((round(float(counts.cost(side.held)), 12), side.inside))
    return min(found, key=lambda one: one[0])[1]


def _divide(counts: _Counts, order: Sequence[int]) -> Bools:
    """[G] bool: each group in ``order`` goes where the shares among those seen so far stay nearest to the fraction."""
    inside = np.zeros(len(order), dtype=bool)
    fraction = float(counts.wanted[-1] / counts.totals[-1])
    numbers, columns, totals = counts.numbers.tolist(), counts.columns.tolist(), counts.totals.tolist()
    importance = counts.importance.tolist()
    starts, lengths = counts.starts.tolist(), counts.lengths.tolist()
    ahead = [0.0] * len(totals)  # held out, less the wanted part of those seen
    held = [0] * len(totals)
    for group in order:
        part = range(starts[group], starts[group] + lengths[group])
        gain, allowed = 0.0, True
        for i in part:
            column, n = columns[i], numbers[i]
            after = ahead[column] - fraction * n
            gain += importance[column] * n * (n + 2 * after)
            allowed = allowed and held[column] + n < totals[column]
            ahead[column] = after
        if gain < 0 and allowed:
            inside[group] = True
            for i in part:
                ahead[columns[i]] += numbers[i]
                held[columns[i]] += numbers[i]
    return inside


def _improve(side: _Side, limit: int) -> None:
    """Lets groups change sides, alone or in pairs, while that helps, at most about ``limit`` times."""
    if not side.inside.any():
        side.flip(int(np.argmin(side.gains(keep=False))))
    for _ in range(max(20, min(limit, 2 * len(side.inside), 400))):
        if np.abs(side.held - side.counts.wanted).max() <= 0.5:
            return  # nothing can be nearer
        gains = side.gains(keep=True)
        best = int(np.argmin(gains))
        if gains[best] < -_LEAST:
            side.flip(best)
            continue
        pair = side.pair()
        if pair is None:
            return
        for group in pair:
            side.flip(group)


def check_disjoint(table: SampleTable) -> None:
    """Refuses a table in which a group has pictures in more than one split; rows without one do not count.

    Raises:
        DataError: naming some of the groups.
    """
    first: dict[str, str] = {}
    both: dict[str, set[str]] = {}
    for group, split in zip(table.groups, table.splits, strict=False):  # there may be no groups
        if split and first.setdefault(group, split) != split:
            both.setdefault(group, {first[group]}).add(split)
    if both:
        named = [
            f"{printable(group)} ({' and '.join(sorted(both[group], key=SPLITS.index))})" for group in sorted(both)
        ]
        more = f", and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        raise DataError(
            "a group has pictures in more than one split"
            if len(named) == 1
            else f"{len(named)} groups have pictures in more than one split",
            ", ".join(named[:_SHOWN]) + more,
            "move each group's pictures to one side, or name other groups",
        )


def describe(table: SampleTable) -> tuple[str, ...]:
    """What a split by groups came to, in one line or two."""
    homes = dict(zip(table.groups, table.splits, strict=True))
    numbers = [(sum(home == split for home in homes.values()), split) for split in SPLITS]
    parts = ", ".join(f"{number:,} {split}" for number, split in numbers if number)
    train, val = np.array(table.counts("train")), np.array(table.counts("val"))
    line = f"split by {len(homes):,} groups: {parts}"
    if not val.any():
        return (line,)
    known = train + val > 0
    shares = val[known] / (train + val)[known]
    lines = [f"{line}; class shares in val {shares.min():.2f} to {shares.max():.2f}"]
    lacking = np.flatnonzero(known & (val == 0))
    if len(lacking):
        one = _in_one_group(table)
        said = [
            printable(table.classes[c]) + (" (all its pictures are of one group)" if one[c] else "") for c in lacking
        ]
        more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
        lines.append(f"no validation pictures of: {', '.join(said[:_SHOWN])}{more}")
    return tuple(lines)


def _in_one_group(table: SampleTable) -> list[bool]:
    """K truths: whether a class's pictures are all of one group."""
    groups: list[set[str]] = [set() for _ in table.classes]
    for target, group in zip(table.targets.tolist(), table.groups, strict=True):
        if target >= 0:
            groups[target].add(group)
    return [len(found) == 1 for found in groups]
