"""Every duplicate is found, by kind, across what it is, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from clsfit.data.survey import Survey

Tree = Callable[..., Path]
Scenes = Callable[..., bytes]
Surveyed = Callable[..., Survey]
Told = tuple[str, str, str, bool, bool]


def told(found: Survey) -> list[Told]:
    paths = found.table.paths
    return [(paths[d.rows[0]], paths[d.rows[1]], d.kind, d.across_splits, d.across_labels) for d in found.duplicates]


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)


AGAIN: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "jpeg 50": (None, "JPEG", {"quality": 50}),
    "webp": (None, "WEBP", {"quality": 70}),
    "smaller": (half, "JPEG", {"quality": 90}),
    "mirrored": (ImageOps.mirror, "PNG", {}),
    "mirrored and jpeg": (ImageOps.mirror, "JPEG", {"quality": 60}),
    "mirrored and smaller": (lambda image: half(ImageOps.mirror(image)), "JPEG", {"quality": 90}),
}


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("workers", [0, 3])
def test_near_duplicates_are_found(
    make_tree: Tree, scenes: Scenes, surveyed: Surveyed, again: str, workers: int
) -> None:
    change, kind, options = AGAIN[again]
    content = {f"{'ab'[seed % 2]}/{seed:02}.png": scenes(seed) for seed in range(40)}
    content |= {f"b/again{seed:02}.png": scenes(seed, change, kind, **options) for seed in (0, 1, 20, 33)}
    assert told(surveyed(make_tree(content), workers)) == [
        ("a/00.png", "b/again00.png", "near", False, True),
        ("a/20.png", "b/again20.png", "near", False, True),
        ("b/01.png", "b/again01.png", "near", False, False),
        ("b/33.png", "b/again33.png", "near", False, False),
    ]


def test_pairs_say_what_they_are_across(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    content = {
        "train/a/1.png": scenes(1),
        "train/a/2.png": scenes(2),
        "train/a/2-again.png": scenes(2),
        "train/a/3.png": scenes(3),
        "train/b/3.jpg": scenes(3, None, "JPEG"),
        "train/b/4.png": scenes(4),
        "val/a/4.png": scenes(4),
        "val/a/1.png": scenes(1, ImageOps.mirror),
        "val/b/5.png": scenes(5),
    }
    assert told(surveyed(make_tree(content))) == [
        ("train/a/1.png", "val/a/1.png", "near", True, False),
        ("train/a/2-again.png", "train/a/2.png", "exact", False, False),
        ("train/a/3.png", "train/b/3.jpg", "near", False, True),
        ("train/b/4.png", "val/a/4.png", "exact", True, True),
    ]


def test_a_group_of_n_is_n_minus_1_pairs_with_the_first(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    content = {f"a/exact{i}.png": scenes(1) for i in range(5)}
    content |= {f"a/near{i}.jpg": scenes(2, None, "JPEG", quality=60 + 3 * i) for i in range(12)}
    content |= {"b/other.png": scenes(3), "b/near.jpg": scenes(1, None, "JPEG")}
    pairs = told(surveyed(make_tree(content)))
    assert [(a, b) for a, b, kind, _, _ in pairs if kind == "exact"] == [
        ("a/exact0.png", f"a/exact{i}.png") for i in range(1, 5)
    ]
    near = [(a, b) for a, b, kind, _, _ in pairs if kind == "near"]
    assert sorted(near) == sorted(
        [("a/exact0.png", "b/near.jpg"), *(("a/near0.jpg", f"a/near{i}.jpg") for i in range(1, 12))]
    )


def test_a_symmetric_picture_and_a_flat_one_are_no_doubles_of_themselves(
    make_tree: Tree, scenes: Scenes, surveyed: Surveyed, encode: Any
) -> None:
    def symmetric(image: Image.Image) -> Image.Image:
        image.paste(ImageOps.mirror(image.crop((0, 0, 32, 48))), (32, 0))
        return image

    flat = {f"a/flat{grey}.png": encode(Image.new("L", (30, 30), grey)) for grey in (0, 100, 101, 255)}
    for seed in range(3):  # faint: pages with a little grain
        grain = np.random.default_rng(seed).integers(198, 203, (30, 30), dtype=np.uint8)
        flat[f"a/faint{seed}.png"] = encode(
            Image.fromarray(np.tile(np.arange(200, 206, dtype=np.uint8), (30, 5)) + grain // 202)
        )
    content = flat | {f"b/{seed}.png": scenes(seed, symmetric) for seed in range(6)}
    assert told(surveyed(make_tree(content))) == []


def test_pictures_that_cannot_be_decoded_are_no_duplicates(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    torn = scenes(1)[:-200]
    found = surveyed(make_tree({"a/1.png": torn, "a/2.png": torn, "b/3.png": scenes(3)}))
    assert found.duplicates == ()
    assert [found.table.paths[row] for row in found.unreadable] == ["a/1.png", "a/2.png"]
