"""Pictures that are in a data set more than once: byte for byte, or encoded again, resized, mirrored."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from clsfit.data import likeness, twins
from clsfit.data.child import Canvas
from clsfit.data.decode import PictureError
from clsfit.data.survey.looks import GOOD, PREPARE, Looks
from clsfit.data.table import SampleTable

_HELD = 64  # canvases kept while pairs are compared: those of one picture follow each other


Kind = Literal["exact", "near"]
Found = tuple[int, int, Kind]
"""Two rows, ascending, and how their pictures are the same."""


@dataclass(frozen=True, order=True)
class Duplicate:
    """Two rows that hold one picture.

    Attributes:
        rows: ascending.
        kind: ``exact``: the same bytes; ``near``: the same picture otherwise.
        across_splits: whether both have a split, and not the same.
        across_labels: whether both have a label, and not the same.
    """

    rows: tuple[int, int]
    kind: Kind
    across_splits: bool
    across_labels: bool


def find(source: Any, looks: Looks, judged: dict[bytes, bool], workers: int) -> list[Found]:
    """All pairs, ascending: n rows with one picture are in n - 1, each later one with the first.

    Where a near one is not like the first, as in a series in which each differs a little from the last, it is
    paired with one that it is like. Of equal bytes the first stands for all in the search for near ones.

    Args:
        source: a :class:`clsfit.contracts.Dataset`, read where two pictures have to be compared.
        looks: [N], of every row.
        judged: two digests, the lower first -> whether they are one picture; what is found is added.
        workers: threads that compare; 0 does it in the caller's.
    """
    digests = looks["digest"].tolist()
    first: dict[bytes, int] = {}
    exact: dict[int, int] = {}
    for row in np.flatnonzero(looks["verdict"] == GOOD).tolist():
        if (before := first.setdefault(digests[row], row)) != row:
            exact[row] = before
    single = np.array(list(first.values()), dtype=np.int64)
    compare = _Comparison(source, looks, digests, judged)
    near = twins.within(
        looks["signature"][single],
        looks["flat"][single],
        lambda one, other: compare(int(single[one]), int(single[other])),
        workers,
    )
    pairs = [(row, other, "exact") for row, other in exact.items()]
    pairs += [(int(single[row]), int(single[other]), "near") for row, other in near.items()]
    return sorted((min(one, other), max(one, other), cast("Kind", kind)) for one, other, kind in pairs)


def described(pairs: Sequence[Found], table: SampleTable, splits: Sequence[str]) -> tuple[Duplicate, ...]:
    """``pairs`` with what their rows are for.

    Args:
        pairs: of rows of ``table``.
        table: with the labels.
        splits: N texts, what each row is for, or empty.
    """
    labels = table.labels()

    def differ(values: Sequence[str], one: int, other: int) -> bool:
        return bool(values[one] and values[other]) and values[one] != values[other]

    return tuple(
        Duplicate((one, other), kind, differ(splits, one, other), differ(labels, one, other))
        for one, other, kind in pairs
    )


class _Comparison:
    """Whether two rows show one picture, decoded again where that was never asked of their bytes."""

    def __init__(self, source: Any, looks: Looks, digests: Sequence[bytes], judged: dict[bytes, bool]) -> None:
        self._source, self._grey, self._digests, self._judged = source, looks["grey"], digests, judged
        self._canvas = functools.lru_cache(maxsize=_HELD)(self._made)

    def __call__(self, one: int, other: int) -> bool:
        if not likeness.may_be_same(self._grey[one], self._grey[other]):
            return False
        key = b"".join(sorted((self._digests[one], self._digests[other])))
        if key not in self._judged:
            try:
                self._judged[key] = likeness.same_or_mirrored(self._canvas(one), self._canvas(other))
            except (PictureError, OSError):  # it was there a moment ago: whoever uses it will say so
                return False
        return self._judged[key]

    def _made(self, row: int) -> Canvas:
        return PREPARE(self._source.read(row))
