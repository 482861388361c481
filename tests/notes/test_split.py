"""The course notes' split by person, beside ours: one law, which only ours keeps.

The notes take the file list as it comes, seven pictures to a person, and shuffle persons by the global
generator. So a person with six pictures shifts all that follow, another order of files gives another
split, and a class may be missing on one side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from clsfit.data.split import hold_out
from clsfit.data.table import SampleTable

Split = Callable[[Sequence[str]], dict[str, str]]
"""From paths ``class/person/picture`` to each one's split."""


def of_the_notes(paths: Sequence[str]) -> dict[str, str]:
    """Persons are ``i // 7``; a fifth of them validate."""
    random.seed(42)
    persons = list(range((len(paths) + 6) // 7))
    random.shuffle(persons)
    held = persons[: len(persons) // 5]
    return {path: "val" if i // 7 in held else "train" for i, path in enumerate(paths)}


def of_ours(paths: Sequence[str]) -> dict[str, str]:
    """Persons by name, a fifth of each class validates."""
    labels = [path.split("/")[0] for path in paths]
    classes = tuple(sorted(set(labels)))
    targets = np.array([classes.index(label) for label in labels])
    table = SampleTable(tuple(paths), classes, targets, groups=tuple(path.split("/")[1] for path in paths))
    return dict(zip(paths, hold_out(table, 0.2, 42).splits, strict=True))


def pictures(classes: dict[str, int], sizes: Sequence[int] = (7,)) -> list[str]:
    """``classes`` gives the persons of each; their pictures are as many as ``sizes`` says, in turn."""
    persons = [(label, number) for label, count in classes.items() for number in range(count)]
    return [
        f"{label}/{label}-{number:03d}/{i}.jpg"
        for place, (label, number) in enumerate(persons)
        for i in range(sizes[place % len(sizes)])
    ]


def groups_are_disjoint(split: Split, paths: Sequence[str]) -> None:
    sides: dict[str, set[str]] = {}
    for path, side in split(paths).items():
        sides.setdefault(path.split("/")[1], set()).add(side)
    assert all(len(found) == 1 for found in sides.values())


def the_order_of_files_does_not_matter(split: Split, paths: Sequence[str]) -> None:
    shuffled = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    assert split(shuffled) == split(paths)


def every_class_is_on_both_sides(split: Split, paths: Sequence[str]) -> None:
    sides: dict[str, set[str]] = {}
    for path, side in split(paths).items():
        sides.setdefault(path.split("/")[0], set()).add(side)
    assert all(found == {"train", "val"} for found in sides.values())


def the_global_generator_is_left_alone(split: Split, paths: Sequence[str]) -> None:
    state = random.getstate()
    split(paths)
    assert random.getstate() == state


LAWS = {
    "a person with six pictures": (groups_are_disjoint, pictures({"mask": 20, "none": 20}, (7, 7, 6))),
    "sorted files are not shuffled files": (groups_are_disjoint, sorted(pictures({"a": 30}), key=lambda p: p[::-1])),
    "order": (the_order_of_files_does_not_matter, pictures({"mask": 20, "none": 20})),
    "a rare class": (every_class_is_on_both_sides, pictures({"mask": 60, "none": 60, "incorrect": 5})),
    "global seed": (the_global_generator_is_left_alone, pictures({"mask": 10, "none": 10})),
}


@pytest.mark.parametrize("name", LAWS)
def test_ours_keeps_the_law(name: str) -> None:
    law, paths = LAWS[name]
    law(of_ours, paths)


@pytest.mark.parametrize("name", LAWS)
def test_the_notes_break_it(name: str) -> None:
    law, paths = LAWS[name]
    with pytest.raises(AssertionError):
        law(of_the_notes, paths)
