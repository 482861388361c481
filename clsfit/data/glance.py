"""What a run says of its data in one line: the cheap part of ``clsfit data check``."""

from __future__ import annotations

from collections import Counter

from clsfit.data.balance import imbalance_ratio
from clsfit.data.class_names import listed
from clsfit.data.copies import Groups
from clsfit.data.table import SPLITS, SampleTable

_MORE = "(clsfit data check shows them)"


def line(table: SampleTable, groups: Groups, *, whole: bool) -> str:
    """Pictures, classes, balance, and pictures that are there twice, byte for byte.

    Args:
        table: every usable picture, with its split.
        groups: rows that hold the same bytes.
        whole: whether within splits they were looked for too.
    """
    counts = [sum(of_each) for of_each in zip(*(table.counts(split) for split in SPLITS), strict=True)]
    lonely = [name for name, count in zip(table.classes, counts, strict=True) if count == 1]
    parts = [f"{len(table):,} pictures, {len(table.classes):,} classes, imbalance ratio {imbalance_ratio(counts):.1f}"]
    if lonely:
        parts.append(f"{_number(len(lonely), 'class', 'classes')} of one picture: {listed(lonely)}")
    parts.append(_duplicates(table, groups, whole))
    return f"check: {'; '.join(parts)}"


def _duplicates(table: SampleTable, groups: Groups, whole: bool) -> str:
    """Of n rows with the same bytes n - 1 are duplicates: each is of the same split as another, or in two."""
    labels, within, across, differ = table.labels(), Counter[str](), 0, 0
    for rows in groups:
        of_each = Counter(table.splits[row] for row in rows)
        within.update({split: number - 1 for split, number in of_each.items()})
        across += len(of_each) - 1
        differ += sum(1 for row in rows[1:] if labels[row] and labels[rows[0]] and labels[row] != labels[rows[0]])
    told = [f"{within[split]:,} within {split}" for split in SPLITS if within[split]]
    told += [f"{across:,} in two splits"] if across else []
    unseen = "" if whole else "; pictures are not kept, so exact duplicates within a split were not looked for"
    number = within.total() + across
    if not number:
        return f"no exact duplicates{' in two splits' if not whole else ''}{unseen}"
    labelled = f", {differ:,} with two labels" if differ else ""
    return f"{_number(number, 'exact duplicate', 'exact duplicates')}: {', '.join(told)}{labelled} {_MORE}{unseen}"


def _number(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
