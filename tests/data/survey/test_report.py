"""What a survey says, and what it says nothing of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data.survey import Survey, report, survey
from clsfit.data.table import SampleTable

Tree = Callable[..., Path]
Scenes = Callable[..., bytes]
Surveyed = Callable[..., Survey]


def finding(found: Survey, begins: str) -> str:
    lines = [line for line in report.findings(found) if begins in line]
    assert len(lines) == 1, list(report.findings(found))
    return lines[0]


def test_nothing_is_said_of_a_good_set(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    found = surveyed(make_tree({f"{'ab'[seed % 2]}/{seed}.png": scenes(seed) for seed in range(6)}))
    assert report.to_json(found) == {
        "pictures": 6,
        "classes": {"a": 3, "b": 3},
        "unreadable": [],
        "duplicates": [],
        "findings": [],
    }
    assert report.refusal(found) is None
    assert list(report.lines(found))[-1].startswith("nothing was found")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_torn_pictures_are_found_though_their_headers_are_whole(
    make_tree: Tree, scenes: Scenes, surveyed: Surveyed, kind: str
) -> None:
    whole = scenes(1, None, kind)
    content = {"a/torn.png": whole[: len(whole) * 2 // 3], "a/whole.png": scenes(2, None, kind), "b/1.png": scenes(3)}
    found = surveyed(make_tree(content | {"b/empty.jpg": b"", "b/text.jpg": b"no picture"}))
    assert report.to_json(found)["unreadable"] == ["a/torn.png", "b/empty.jpg", "b/text.jpg"]
    line = finding(found, "cannot be read")
    assert line.startswith("3 pictures cannot be read: a/torn.png (")
    assert "b/empty.jpg (empty file)" in line


def test_an_ending_of_another_format_is_a_finding_and_no_error(
    make_tree: Tree, scenes: Scenes, surveyed: Surveyed
) -> None:
    content = {"a/1.png": scenes(1, None, "JPEG"), "a/2.PNG": scenes(2), "b/3.jpeg": scenes(3, None, "JPEG")}
    found = surveyed(make_tree(content | {"b/4.jpg": scenes(4, None, "WEBP"), "b/5.tif": scenes(5, None, "TIFF")}))
    assert finding(found, "ending") == ("2 pictures with another format's ending: a/1.png is JPEG, b/4.jpg is WEBP")
    assert found.unreadable == {}
    assert report.refusal(found) is None


def test_counts_sizes_modes_and_what_is_not_used(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    content = {f"many/{seed}.png": scenes(seed) for seed in range(5)}
    content |= {
        "few/1.png": scenes(11, lambda image: image.resize((20, 10))),
        "few/2.png": scenes(12, lambda image: image.convert("L")),
        "one/1.png": scenes(13),
        "few/.hidden.png": b"",
        "few/notes.txt": b"",
    }
    found = surveyed(make_tree(content))
    said = list(report.findings(found))
    assert "classes are unbalanced: imbalance ratio 5.0 (many has 5 pictures, one 1)" in said
    assert "1 class has one picture only, so it cannot be validated: one" in said
    assert "pictures differ in size: 20x10 to 64x48, 2 different" in said
    assert "pictures differ in mode: RGB 7, L 1" in said
    assert "hidden files and folders are not used: few/.hidden.png" in said
    assert "files without a picture's ending are not used: 1" in said
    told = list(report.lines(found))
    assert told[1] == "classes   3: many 5, few 2, one 1; imbalance ratio 5.0"
    assert told[3] == "modes     RGB 7, L 1"


def test_leaks_and_two_labels_are_refused_and_counted(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    content = {f"train/{'ab'[seed % 2]}/{seed}.png": scenes(seed) for seed in range(10)}
    content |= {f"val/{'ab'[seed % 2]}/again{seed}.png": scenes(seed) for seed in range(5)}
    found = surveyed(make_tree(content | {"train/a/1b.png": scenes(1)}))
    line = finding(found, "in two splits")
    assert line.startswith(
        "5 pairs in two splits, so scores are too good: train/a/0.png (train) = val/a/again0.png (val), "
    )
    assert line.endswith(" and 2 more")
    assert finding(found, "two labels").startswith("2 pairs with two labels: train/a/1b.png (a) = train/b/1.png (b)")
    error = report.refusal(found)
    assert error is not None
    assert error.exit_code == 3
    assert error.what == "pictures that must not be: 5 in two splits, 2 with two labels"


def test_pictures_without_a_split_beside_others_are_trained_on(scenes: Scenes) -> None:
    found = survey(_Rows([scenes(1), scenes(1), scenes(2)], ("", "test", "")), "rows", 0)
    assert [pair.across_splits for pair in found.duplicates] == [True]
    found = survey(_Rows([scenes(1), scenes(1), scenes(2)], ()), "rows", 0)
    assert [pair.across_splits for pair in found.duplicates] == [False]
    assert finding(found, "by chance")


def test_pictures_of_no_file_are_surveyed(scenes: Scenes) -> None:
    pixels = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)))
    found = survey(_Rows([pixels, pixels.copy(), scenes(1), pixels[:, ::2].copy()], ()), "rows", 2)
    assert [(pair.rows, pair.kind) for pair in found.duplicates] == [((0, 1), "exact")]
    assert finding(found, "mode") == "pictures differ in mode: L 3, RGB 1"


def test_names_cannot_steer_a_terminal(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    name = "a/\x1b[31m\u202ered.png"
    content = {name: scenes(1, None, "JPEG"), "b/1.png": scenes(1, None, "JPEG"), "b/\x1b]0;x.png": b"torn"}
    found = surveyed(make_tree(content))
    assert "is JPEG" in finding(found, "ending")
    for line in [*report.lines(found), *report.findings(found), str(report.refusal(found)).replace("\n", "")]:
        assert line.isprintable(), line
    assert report.to_json(found)["duplicates"][0]["paths"][0] == name  # JSON escapes by itself


def test_a_picture_without_a_label_has_no_other_one(scenes: Scenes) -> None:
    found = survey(_Rows([scenes(1), scenes(1), scenes(1)], ("train", "test", "train"), (0, -1, 1)), "rows", 0)
    assert [(pair.rows, pair.across_splits, pair.across_labels) for pair in found.duplicates] == [
        ((0, 1), True, False),
        ((0, 2), False, True),
    ]
    assert report.to_json(found)["classes"] == {"a": 1, "b": 1}


class _Rows:
    """Pictures from memory, every second one of another class."""

    def __init__(self, pictures: list[Any], splits: tuple[str, ...], targets: tuple[int, ...] = ()) -> None:
        self.pictures, self.splits = pictures, splits
        self.targets = np.array(targets or [row % 2 for row in range(len(pictures))])

    def table(self) -> SampleTable:
        number = len(self.pictures)
        names = tuple(f"{row}" for row in range(number))
        return SampleTable(names, ("a", "b"), self.targets, self.splits)

    def read(self, row: int) -> Any:
        return self.pictures[row]
