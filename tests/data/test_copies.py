"""What is there twice, byte for byte, in a split or across: all of it, whatever is known, and told in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data import copies, leaks
from clsfit.data.canvases import build
from clsfit.data.glance import line
from clsfit.data.intake import Wishes, take_in
from clsfit.data.prepare import Prepare
from clsfit.data.sources import folder
from clsfit.data.table import SampleTable

SMALL = ["--model", "mlp", "--model.hidden", "4", "--epochs", "2", "--device", "cpu"]


@pytest.fixture
def twice(make_tree: Any, picture: Any) -> Path:
    """12 pictures, of which one is there three times, one in two classes, one in val too; of one size in bytes."""
    content = {f"train/{'ab'[seed % 2]}/{seed}.bmp": picture(seed, 40, 48, "BMP") for seed in range(6)}
    content |= {f"train/a/again{number}.bmp": content["train/a/0.bmp"] for number in range(2)}
    content |= {"train/b/also.bmp": content["train/a/2.bmp"], "val/a/leak.bmp": content["train/a/4.bmp"]}
    content |= {f"val/b/{seed}.bmp": picture(seed, 40, 48, "BMP") for seed in (20, 21)}
    return make_tree(content)


def _prepared(source: Any, store: Path, cache: str = "memory") -> Any:
    made, _ = build(
        source, np.arange(len(source.table())), Prepare(3, 16), cache=cache, workers=0, skip_bad=False, progress=None,
        cache_dir=store,
    )  # fmt: skip
    return made


def _named(source: Any, groups: copies.Groups) -> list[set[str]]:
    return [{source.table().paths[row] for row in rows} for rows in groups]


EXPECTED = [
    {"train/a/0.bmp", "train/a/again0.bmp", "train/a/again1.bmp"},
    {"train/a/2.bmp", "train/b/also.bmp"},
    {"train/a/4.bmp", "val/a/leak.bmp"},
]


@pytest.mark.parametrize("known", ["all", "none", "some"])
@pytest.mark.parametrize("workers", [0, 2])
def test_copies_are_found_whatever_is_known(twice: Path, store: Path, known: str, workers: int) -> None:
    source = folder(twice)
    digests = {row: hashlib.sha256(source.read(row)).digest() for row in range(12)}
    told = {row: digest for row, digest in digests.items() if known == "all" or (known == "some" and row % 2)}
    found = leaks.look(source, source.table(), workers, told, canvases=_prepared(source, store))
    assert _named(source, found.groups) == EXPECTED
    assert found.whole
    assert len(found.lines) == 1


def test_only_what_looks_the_same_is_read_again(twice: Path, store: Path, opened: list[str]) -> None:
    source = folder(twice)
    made = _prepared(source, store)
    opened.clear()
    leaks.look(source, source.table(), 0, canvases=made)
    assert {str(Path(path).relative_to(twice)) for path in opened} == set().union(*EXPECTED)
    opened.clear()
    digests = {row: hashlib.sha256(source.read(row)).digest() for row in range(12)}
    opened.clear()
    leaks.look(source, source.table(), 0, digests, canvases=made)
    assert opened == []


def test_where_pictures_are_not_kept_those_of_two_splits_are_found(twice: Path, store: Path) -> None:
    source = folder(twice)
    found = leaks.look(source, source.table(), 0, canvases=_prepared(source, store, "off"))
    assert _named(source, found.groups) == [EXPECTED[2]]
    assert not found.whole
    said = line(source.table(), found.groups, whole=found.whole)
    assert said.endswith(
        "; 1 exact duplicate: 1 in two splits (clsfit data check shows them); "
        "pictures are not kept, so exact duplicates within a split were not looked for"
    )


def test_pixels_that_are_no_files_are_compared_too(store: Path) -> None:
    class Pixels:
        def table(self) -> SampleTable:
            return SampleTable(("a", "b", "c", "d"), ("x", "y"), np.array([0, 1, 0, 1]), ("train",) * 4)

        def read(self, row: int) -> Any:
            return np.random.default_rng(row % 3).integers(0, 256, (8, 8), dtype=np.uint8)

    source = Pixels()
    assert leaks.look(source, source.table(), 0, canvases=_prepared(source, store)).groups == [[0, 3]]


@pytest.mark.parametrize(
    ("splits", "groups", "said"),
    [
        (["train"] * 4 + ["val"] * 2, [], "; 1 class of one picture: c; no exact duplicates"),
        (
            ["train"] * 6, [[0, 1, 2]],
            "; 2 exact duplicates: 2 within train, 1 with two labels (clsfit data check shows them)",
        ),
        (
            ["train", "train", "val", "val", "test", "test"],
            [[0, 1, 2, 3], [4, 5]],
            "; 4 exact duplicates: 1 within train, 1 within val, 1 within test, 1 in two splits, 3 with two labels "
            "(clsfit data check shows them)",
        ),
        (["train", "val"] * 3, [[0, 1]], "; 1 exact duplicate: 1 in two splits (clsfit data check shows them)"),
    ],
)  # fmt: skip
def test_the_line(splits: list[str], groups: copies.Groups, said: str) -> None:
    table = SampleTable(tuple("pqrstu"), ("a", "b", "c"), np.array([0, 0, 1, 1, 0, 2]), tuple(splits))
    assert line(table, groups, whole=True).endswith(said)
    assert line(table, groups, whole=True).startswith("check: 6 pictures, 3 classes, imbalance ratio 3.0; ")


def test_a_resumed_run_says_nothing_again(twice: Path) -> None:
    wishes = Wishes(None, None, 0.2, 0, 0, "memory", False)
    first = take_in(folder(twice), wishes)
    assert "4 exact duplicates: 3 within train, 1 in two splits, 1 with two labels" in first.found
    table = first.table
    recorded = [
        {"path": path, "label": label, "group": "", "split": split}
        for path, label, split in zip(table.paths, table.labels(), table.splits, strict=True)
    ]
    assert take_in(folder(twice), wishes, recorded=recorded).found == ""


def test_train_says_it_once_and_writes_it_down(clsfit: Callable[..., Any], twice: Path, tmp_path: Path) -> None:
    line = (
        "check: 12 pictures, 2 classes, imbalance ratio 1.0; 4 exact duplicates: 3 within train, 1 in two splits, "
        "1 with two labels (clsfit data check shows them)\n"
    )
    assert clsfit("train", twice, *SMALL, "-o", "run").stderr.count(line) == 1
    assert (tmp_path / "run" / "log.txt").read_text().count(line.rstrip()) == 1
    assert "check:" not in clsfit("train", twice, *SMALL, "-o", "quiet", "-q").stderr
    again = clsfit("train", twice, *SMALL[:-4], "--epochs", "3", "-o", "run", "--resume", "--accept-changes").stderr
    assert again.count(line) == 1, "the data may have changed"
    report = json.loads(clsfit("data", "check", twice, "--json").stdout)
    assert sum(pair["kind"] == "exact" for pair in report["duplicates"]) == 4
