"""The same picture encoded again: found on the canvases, whatever the file's format, quality, notes or size.

:func:`find` looks for it across the splits of a run, :func:`within` among any pictures, mirrored ones too.

Rows whose signatures (:mod:`clsfit.data.likeness`) are near in all 16 coefficients are found by sorting, and compared
on their canvases. A flat canvas is like every other one, so it is not compared.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product

import numpy as np
import numpy.typing as npt

from clsfit.data import likeness
from clsfit.data.canvases import Canvases
from clsfit.data.likeness import Floats
from clsfit.data.table import SPLITS, SampleTable
from clsfit.data.threads import over_rows

_REACH = 4.0  # grey levels by which a coefficient of the same picture may differ
_CHUNK = 256  # canvases, or pictures to confirm, per piece of work
_QUERIES = 2048
_NEIGHBOURS = 128  # rows to each side in the sorted order that are looked at
_CONFIRMED = 4  # nearest rows that are compared on canvases
_BRIGHTNESS, _SORTED_BY = 0, (4, 8, 1, 2, 12)  # the mean, and the coefficients that vary most among pictures

Rows = npt.NDArray[np.int64]
Pair = tuple[int, int]
Alike = Callable[[int, int], bool]
"""Whether two rows show the same picture; called by several threads at once."""


def find(
    table: SampleTable, canvases: Canvases, workers: int, known: tuple[Floats, npt.NDArray[np.bool_]] | None = None
) -> dict[int, int]:
    """Row -> a row of an earlier split (train, val, test) whose canvas shows the same picture.

    Takes memory for 20 numbers a row, whatever the pictures have in common. A picture with hundreds of near
    doubles is compared with the nearest few.

    Args:
        table: rows with a split each.
        canvases: by row of ``table``, not of tier "stream".
        workers: threads; 0 reads in the caller's.
        known: the :func:`signatures` of ``canvases``, where they are.
    """
    splits = [table.rows(name) for name in SPLITS]
    if sum(len(rows) > 0 for rows in splits) < 2:
        return {}
    seen, flat = known or signatures(canvases, workers)
    found: dict[int, int] = {}
    for number in range(1, len(SPLITS)):
        earlier = np.concatenate(splits[:number])
        earlier, later = earlier[~flat[earlier]], splits[number][~flat[splits[number]]]
        near = {
            int(later[query]): earlier[rows].tolist()
            for query, rows in _neighbours(seen[earlier], seen[later], _CONFIRMED)
        }
        found |= _confirmed(canvases, near, workers)
    return dict(sorted(found.items()))


def within(signatures: Floats, flat: npt.NDArray[np.bool_], alike: Alike, workers: int) -> dict[int, int]:
    """Row -> another row that shows the same picture, plainly or mirrored left to right; groups share one.

    Of n rows that show one picture, n - 1 are in it. Each has the first of them, or where ``alike`` denies
    that, as in a series in which each differs a little from the last, one that is like it.

    Args:
        signatures: [N, 16] float32, of :func:`signature`.
        flat: [N], rows that are like every other one, so not compared.
        alike: has the last word; asked about the few nearest rows of each only.
        workers: threads that ask; 0 asks in the caller's.
    """
    rows = np.flatnonzero(~flat)
    base = signatures[rows]
    near: set[Pair] = set()
    for queries in (base, base * likeness.MIRROR):
        for query, found in _neighbours(base, queries, _CONFIRMED + 1):  # it finds itself too
            row = int(rows[query])
            near |= {(min(row, other), max(row, other)) for other in rows[found].tolist() if other != row}
    judged = _judged(near, alike, workers)
    trees = _trees(pair for pair, same in judged.items() if same)
    judged |= _judged({(first, row) for row, (first, _) in trees.items()} - judged.keys(), alike, workers)
    return {row: first if judged[first, row] else near_one for row, (first, near_one) in sorted(trees.items())}


def signatures(canvases: Canvases, workers: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """[N, 16] coefficients in grey levels, and [N] whether a canvas is flat. Equal canvases have equal ones.

    Args:
        canvases: not of tier "stream".
        workers: threads; 0 reads in the caller's.
    """
    number = len(canvases.sizes)
    coefficients = np.zeros((number, likeness.WAVES * likeness.WAVES), dtype=np.float32)
    contrast = np.zeros(number, dtype=np.float32)
    block = canvases.uniform

    def piece(start: int, stop: int) -> None:
        if block is not None:
            coefficients[start:stop], contrast[start:stop] = likeness.signatures_of(block[start:stop])
            return
        for row in range(start, stop):
            coefficients[row : row + 1], contrast[row : row + 1] = likeness.signatures_of(canvases.get(row)[np.newaxis])

    over_rows(piece, number, chunk=_CHUNK, workers=workers)
    return coefficients, contrast < likeness.FLAT


def _neighbours(base: Floats, queries: Floats, most: int) -> Iterator[tuple[int, Rows]]:
    """For each query that has any: its number, and the ``most`` nearest of the base rows in reach, ascending.

    The base is sorted by cell, twice the reach wide in five coefficients, and by brightness in a cell. What is
    in reach of a query lies in two cells per coefficient, so in 32 pieces of the sorted order.
    """
    if not len(base):
        return
    keys = _keys(_cells(base), base[:, _BRIGHTNESS])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    for start in range(0, len(queries), _QUERIES):
        some = queries[start : start + _QUERIES]
        pieces = [_in_cell(base, keys, order, some, shift) for shift in product((0, 1), repeat=len(_SORTED_BY))]
        query, row = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        distance = np.abs(base[row] - some[query]).sum(axis=1)
        ranked = np.lexsort((row, distance, query))
        query, row = query[ranked], row[ranked]
        for number in np.unique(query).tolist():
            first, last = np.searchsorted(query, (number, number + 1))
            yield start + number, np.sort(row[first : min(first + most, last)])


def _in_cell(base: Floats, keys: Rows, order: Rows, queries: Floats, shift: tuple[int, ...]) -> tuple[Rows, Rows]:
    """Pairs of query and base row in reach, where the base row is in one of the query's cells."""
    cells, bright = _cells(queries - _REACH) + np.array(shift), queries[:, _BRIGHTNESS]
    middle = np.searchsorted(keys, _keys(cells, bright))
    low = np.maximum(np.searchsorted(keys, _keys(cells, bright - _REACH)), middle - _NEIGHBOURS)
    high = np.minimum(np.searchsorted(keys, _keys(cells, bright + _REACH), side="right"), middle + _NEIGHBOURS)
    counts = np.maximum(high - low, 0)
    query = np.repeat(np.arange(len(queries)), counts)
    row = order[np.arange(len(query)) + np.repeat(low - (np.cumsum(counts) - counts), counts)]
    near = (np.abs(base[row] - queries[query]) <= _REACH).all(axis=1)
    return query[near], row[near]


def _cells(signatures: Floats) -> Rows:
    """[n, 5] numbers of cells, from 0: a coefficient is within 255 of 0."""
    cells: Rows = np.floor(signatures[:, _SORTED_BY] / (2 * _REACH)).astype(np.int64) + 48
    return cells


def _keys(cells: Rows, brightness: Floats) -> Rows:
    """[n] int64 that sort by cell and, in a cell, by brightness to a 64th of a grey level."""
    keys = np.zeros(len(cells), dtype=np.int64)
    for column in cells.T:
        keys = (keys << 7) | column
    return (keys << 16) | np.clip(np.round(brightness * 64), 0, 65535).astype(np.int64)


def _confirmed(canvases: Canvases, near: dict[int, list[int]], workers: int) -> dict[int, int]:
    """Row -> the first of the rows ``near`` it that shows the same picture."""
    rows = sorted(near)
    found: dict[int, int] = {}

    def piece(start: int, stop: int) -> None:
        for row in rows[start:stop]:
            for other in near[row]:
                if likeness.unlikeness(canvases.get(row), canvases.get(other)) <= 1:
                    found[row] = other
                    break

    over_rows(piece, len(rows), chunk=_CHUNK // 8, workers=workers)
    return found


def _judged(pairs: Iterable[Pair], alike: Alike, workers: int) -> dict[Pair, bool]:
    """What ``alike`` says of each pair."""
    asked = sorted(pairs)
    same = [False] * len(asked)

    def piece(start: int, stop: int) -> None:
        for place in range(start, stop):
            same[place] = alike(*asked[place])

    over_rows(piece, len(asked), chunk=_CHUNK // 8, workers=workers)
    return dict(zip(asked, same, strict=True))


def _trees(pairs: Iterable[Pair]) -> Mapping[int, Pair]:
    """Row -> (the first row of those that hang together, a row that it is paired with); not for first ones."""
    beside: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        beside[one].append(other)
        beside[other].append(one)
    trees: dict[int, Pair] = {}
    for first in sorted(beside):
        if first in trees:
            continue
        waiting = deque([first])
        while waiting:
            row = waiting.popleft()
            for other in beside[row]:
                if other != first and other not in trees:
                    trees[other] = (first, row)
                    waiting.append(other)
    return trees
