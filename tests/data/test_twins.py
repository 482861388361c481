"""The same picture encoded again is found in another split, and nothing else is taken for it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsfit.data import likeness, twins
from clsfit.data.canvases import Canvases, build
from clsfit.data.prepare import Prepare
from clsfit.data.table import SampleTable

Encode = Callable[..., bytes]
_NUMBER = 24  # scenes; the first half is trained on
_ORIENTATION = 0x0112


def scene(seed: int, height: int = 90, width: int = 120) -> Image.Image:
    """Large soft shapes and finer ones on them, in colour, as in a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, strength in ((3, 90), (9, 45), (30, 20)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += strength * (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 127.5 - 1)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def smaller(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def turned(image: Image.Image, encode: Encode) -> bytes:
    """Lying, with a note that says how to hold it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return encode(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=85, exif=exif)


AGAIN: dict[str, Callable[[Image.Image, Encode], bytes]] = {
    "jpeg 30": lambda image, encode: encode(image, "JPEG", quality=30),
    "jpeg 50": lambda image, encode: encode(image, "JPEG", quality=50),
    "jpeg 75": lambda image, encode: encode(image, "JPEG", quality=75),
    "jpeg 95": lambda image, encode: encode(image, "JPEG", quality=95),
    "png of a jpeg": lambda image, encode: encode(Image.open(io.BytesIO(encode(image, "JPEG", quality=75)))),
    "webp": lambda image, encode: encode(image, "WEBP", quality=60),
    "bmp": lambda image, encode: encode(image, "BMP"),
    "turned by a note": turned,
    "smaller": lambda image, encode: encode(smaller(image, 0.7), "JPEG", quality=85),
    "half": lambda image, encode: encode(smaller(image, 0.5), "JPEG", quality=85),
}


class Source:
    """Pictures from memory; without ``stamp`` nothing is found in a cache."""

    def __init__(self, pictures: list[Any]) -> None:
        self.pictures = pictures

    def table(self) -> SampleTable:
        return table_of(["train"] * len(self.pictures))

    def read(self, row: int) -> Any:
        return self.pictures[row]


def table_of(splits: list[str]) -> SampleTable:
    return SampleTable(
        tuple(f"{row}.png" for row in range(len(splits))), ("a",), np.zeros(len(splits), dtype=np.int64), tuple(splits)
    )


def prepared(pictures: list[Any], folder: Path, cache: str = "memory", channels: int = 3) -> Canvases:
    rows = np.arange(len(pictures))
    made, bad = build(
        Source(pictures), rows, Prepare(channels, 80), cache=cache, workers=0, skip_bad=False, cache_dir=folder
    )
    assert not bad
    return made


def halves() -> list[str]:
    return ["train"] * (_NUMBER // 2) + ["val"] * (_NUMBER // 2)


@pytest.mark.parametrize("kind", AGAIN)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_found_again(tmp_path: Path, encode: Encode, kind: str, channels: int) -> None:
    scenes = [scene(seed) for seed in range(_NUMBER)]
    pictures = [encode(image) for image in scenes] + [AGAIN[kind](scenes[i], encode) for i in range(0, _NUMBER, 3)]
    splits = [*halves(), *["test"] * 8]
    found = twins.find(table_of(splits), prepared(pictures, tmp_path, channels=channels), 0)
    assert found == {_NUMBER + i: 3 * i for i in range(8)}


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("workers", [0, 3])
def test_where_canvases_lie_and_who_looks_makes_no_difference(
    tmp_path: Path, encode: Encode, cache: str, workers: int
) -> None:
    pictures = [encode(scene(seed, 60 + seed, 80)) for seed in range(_NUMBER)]
    pictures += [encode(scene(seed, 60 + seed, 80), "JPEG", quality=60) for seed in (5, 20, 2)]
    found = twins.find(table_of([*halves(), "val", "test", "test"]), prepared(pictures, tmp_path, cache), workers)
    assert list(found.items()) == [(_NUMBER, 5), (_NUMBER + 1, 20), (_NUMBER + 2, 2)]


def test_what_is_twice_in_one_split_is_no_leak(tmp_path: Path, encode: Encode) -> None:
    pictures = [encode(scene(seed)) for seed in range(_NUMBER)]
    pictures += [encode(scene(1), "JPEG"), encode(scene(_NUMBER - 1), "JPEG")]
    made = prepared(pictures, tmp_path)
    assert twins.find(table_of([*halves(), "train", "val"]), made, 0) == {}
    assert twins.find(table_of(["train"] * len(pictures)), made, 0) == {}
    assert len(twins.find(table_of([*halves(), "val", "train"]), made, 0)) == 2


def _grey(low: int, high: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, (40, 40), dtype=np.uint8)


@pytest.mark.parametrize(
    "pictures",
    [
        pytest.param([np.full((40, 40), 0, np.uint8)] * 6, id="black"),
        pytest.param([np.full((40, 40), value, np.uint8) for value in (200, 201, 199, 200, 200, 201)], id="flat"),
        pytest.param([_grey(250, 256, seed) for seed in range(6)], id="nearly flat"),
        pytest.param([_grey(0, 256, seed) for seed in range(6)], id="noise"),
        pytest.param([np.tile(np.arange(200, 206, dtype=np.uint8), (6, 1)).repeat(7, 0)] * 6, id="faint and equal"),
        pytest.param([_grey(0, 256, seed)[:1, :1] for seed in range(6)], id="one pixel"),
    ],
)
def test_pictures_of_nothing_are_not_the_same(tmp_path: Path, pictures: list[Any]) -> None:
    made = prepared(pictures, tmp_path, channels=1)
    assert twins.find(table_of(["train", "val"] * 3), made, 0) == {}


def test_no_two_of_the_bundled_digits_are_the_same(tmp_path: Path) -> None:
    images: Any = pytest.importorskip("sklearn.datasets").load_digits().images
    pictures = list(np.round(images * 255 / 16).astype(np.uint8))
    made = prepared(pictures, tmp_path, channels=1)
    for seed in range(3):
        splits = np.random.default_rng(seed).choice(["train", "val"], len(pictures)).tolist()
        assert twins.find(table_of(splits), made, 0) == {}


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.array(image, dtype=np.uint8)


def test_what_tells_two_pictures_apart() -> None:
    one = _pixels(scene(0, 160, 200))
    assert likeness.unlikeness(one, one) == 0
    assert likeness.unlikeness(one, _pixels(smaller(scene(0, 160, 200), 0.6))) < 0.7
    assert likeness.unlikeness(one, _pixels(scene(1, 160, 200))) > 3
    stretched = _pixels(scene(0, 160, 200).resize((200, 170)))
    assert likeness.unlikeness(one, stretched) == np.inf
    marked = one.copy()
    marked[70:85, 90:105] = 255 - marked[70:85, 90:105] // 2  # a small thing that is only in one of them
    assert likeness.unlikeness(one, marked) > 1
    tinted = np.roll(one, 1, axis=2)  # as bright everywhere, in other colours
    assert likeness.unlikeness(one, tinted) > 1
    lighter = np.clip(one.astype(int) + 12, 0, 255).astype(np.uint8)
    assert likeness.unlikeness(one, lighter) > 1


@pytest.mark.parametrize("uniform", [True, False])
def test_many_pictures_in_pieces(tmp_path: Path, encode: Encode, uniform: bool) -> None:
    images = [scene(seed, 24, 24 if uniform else 24 + seed % 2) for seed in range(600)]
    pictures: list[Any] = [_pixels(image) for image in images]
    pictures += [_pixels(images[row]) for row in (10, 300, 599)]
    made = prepared(pictures, tmp_path)
    assert (made.uniform is not None) == uniform
    assert twins.find(table_of([*["train"] * 600, *["val"] * 3]), made, 2) == {600: 10, 601: 300, 602: 599}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever two canvases are compared."""
    calls: list[int] = []

    def counted(one: Any, other: Any, plain: Any = likeness.unlikeness) -> float:
        calls.append(1)
        return float(plain(one, other))

    monkeypatch.setattr(likeness, "unlikeness", counted)
    return calls


def test_a_thousand_copies_are_a_pair_each(tmp_path: Path, encode: Encode, compared: list[int]) -> None:
    kinds = [encode(scene(0, 40, 40), "JPEG", quality=quality) for quality in range(60, 100)]
    pictures = [kinds[row % 40] for row in range(1000)]
    found = twins.find(table_of(["train", "val"] * 500), prepared(pictures, tmp_path), 0)
    assert sorted(found) == list(range(1, 1000, 2))
    assert all(first % 2 == 0 for first in found.values())
    assert len(compared) <= 4 * 500


def test_hundreds_of_near_pictures_are_compared_with_a_few_each(tmp_path: Path, compared: list[int]) -> None:
    plain = _pixels(scene(0, 64, 64))
    pictures = []
    for row in range(200):
        marked = plain.copy()
        top, left = 4 * (row // 15), 4 * (row % 15)
        place = marked[top : top + 4, left : left + 4]
        place[:] = 0 if place.mean() > 127 else 255  # another place in each
        pictures.append(marked)
    found = twins.find(table_of(["train", "val"] * 100), prepared(pictures, tmp_path), 0)
    assert found == {}
    assert 100 < len(compared) <= 4 * 100


def test_many_pictures_take_little_memory() -> None:
    rng = np.random.default_rng(0)
    spread = np.linspace(30, 3, 16)
    many = (rng.standard_normal((40_000, 16)) * spread).astype(np.float32)
    many[:, 0] += 128
    again = many[::400] + rng.uniform(-3, 3, (100, 16)).astype(np.float32)
    tracemalloc.start()
    near = dict(twins._neighbours(many, np.concatenate([again, again + 60]), 4))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20  # all pairs of so many: gigabytes
    assert all(400 * number in near[number].tolist() for number in range(100))
    assert sum(len(rows) for rows in near.values()) < 200


def test_within_pairs_all_that_hang_together_with_the_first(tmp_path: Path, encode: Encode) -> None:
    kinds = [encode(scene(0, 40, 40), "JPEG", quality=quality) for quality in range(60, 90)]
    mirrored = [encode(scene(0, 40, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=80)]
    pictures = [encode(scene(seed, 40, 40)) for seed in range(1, 20)] + kinds + mirrored
    made = prepared(pictures, tmp_path)
    signatures, flat = twins.signatures(made, 0)

    def alike(one: int, other: int) -> bool:
        return likeness.same_or_mirrored(made.get(one), made.get(other))

    for workers in (0, 3):
        found = twins.within(signatures, flat, alike, workers)
        assert found == dict.fromkeys(range(20, 50), 19)


def test_a_series_is_paired_with_what_is_like_it() -> None:
    signatures = np.zeros((9, 16), dtype=np.float32)
    signatures[:, 0] = 100 + 1.5 * np.arange(9)  # each is near the next few
    found = twins.within(signatures, np.zeros(9, dtype=bool), lambda one, other: abs(one - other) <= 2, 0)
    assert sorted(found) == list(range(1, 9))
    assert all(abs(row - other) <= 2 for row, other in found.items())
    assert (found[1], found[2]) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1]), unique=True))
def test_n_that_hang_together_are_n_minus_1_pairs(pairs: list[tuple[int, int]]) -> None:
    trees = twins._trees(pairs)
    together = {row: {row} for pair in pairs for row in pair}
    for one, other in pairs:
        joined = together[one] | together[other]
        for row in joined:
            together[row] = joined
    assert trees.keys() == {row for row, joined in together.items() if row != min(joined)}
    for row, (first, other) in trees.items():
        assert first == min(together[row])
        assert (min(row, other), max(row, other)) in pairs


@pytest.mark.parametrize("side", [32, 100, 256, 300])
def test_a_mirrored_signature_is_that_of_the_mirrored_picture(side: int) -> None:
    pixels = _pixels(scene(4, side, side + 37))
    plain, _ = likeness.signature(pixels)
    mirrored, _ = likeness.signature(np.ascontiguousarray(pixels[:, ::-1]))
    assert np.abs(plain * likeness.MIRROR - mirrored).max() < 2
    assert np.abs(plain - mirrored).max() > 8


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("height", [40, 130, 300])
def test_the_quick_look_at_two_pictures_denies_no_pair_that_is_one(encode: Encode, again: str, height: int) -> None:
    prepare, confirmed = Prepare(3, 256), 0
    for seed in range(6):
        image = scene(seed, height, height * 4 // 3)
        first = prepare(encode(image))
        for second in (canvas := prepare(AGAIN[again](image, encode)), np.ascontiguousarray(canvas[:, ::-1])):
            if likeness.same_or_mirrored(first, second):
                confirmed += 1
                assert likeness.may_be_same(likeness.grey(first), likeness.grey(second))
    assert confirmed, "there was nothing to deny"


def test_the_quick_look_denies_most_pairs_that_are_two_pictures() -> None:
    grey = [likeness.grey(np.asarray(scene(seed))) for seed in range(20)]
    pairs = [(one, other) for one in range(20) for other in range(one)]
    assert sum(likeness.may_be_same(grey[one], grey[other]) for one, other in pairs) < len(pairs) / 20


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 9))
def test_a_mirrored_picture_has_the_signature_with_every_other_sign_turned(height: int, width: int, seed: int) -> None:
    canvas = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    plain, mirrored = (
        likeness.signature(one)[0].reshape(4, 4) for one in (canvas, np.ascontiguousarray(canvas[:, ::-1]))
    )
    np.testing.assert_allclose(mirrored * [1, -1, 1, -1], plain, atol=0.01)
