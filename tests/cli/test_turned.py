"""Pictures that a camera has marked as turned: train, evaluate and predict see what an upright copy shows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

_ORIENTATION = 0x0112
_KINDS = ("png", "webp", "tiff", "jpg")
_STORED: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}
"""From an upright picture to what is stored under a mark."""


def _write(path: Path, upright: Any, mark: int) -> None:
    exif = Image.Exif()
    exif[_ORIENTATION] = mark
    options: dict[str, Any] = {".webp": {"lossless": True}, ".jpg": {"quality": 100}}.get(path.suffix, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(_STORED[mark](upright))).save(path, exif=exif, **options)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Sixty-four pictures of gray blocks, of every format under every mark, and the same pictures upright."""
    for number in range(64):
        draws = np.random.default_rng(number)
        blocks = np.sort(draws.integers(0, 256, (3, 2), dtype=np.uint8), axis=0)
        upright = np.kron(blocks if number % 2 else blocks[::-1], np.ones((8, 8), dtype=np.uint8))
        name = f"photos/{'up' if number % 2 else 'down'}/{number:02}.{_KINDS[number // 2 % 4]}"
        _write(tmp_path / "turned" / name, upright, number // 8 + 1)
        _write(tmp_path / "upright" / name, upright, 1)
    return tmp_path / "turned", tmp_path / "upright"


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_three_commands_see_a_turned_picture_as_an_upright_one(
    clsfit: Callable[..., Any], two: tuple[Path, Path]
) -> None:
    small = ["--model", "mlp", "--model.hidden", "8", "--epochs", "2", "--device", "cpu", "-q"]
    for place in two:
        clsfit("train", "photos", *small, "-o", "run", cwd=place)
        clsfit("evaluate", "run", "photos", "--predictions", "evaluated.csv", cwd=place)
        clsfit("predict", "run", "photos", "-o", "predicted.csv", "--probabilities", cwd=place)
    weights, upright = (load_file(place / "run" / "best.safetensors") for place in two)
    assert all(np.array_equal(values, upright[name]) for name, values in weights.items())
    evaluated = [_table(place / "evaluated.csv") for place in two]
    predicted = [_table(place / "predicted.csv") for place in two]
    assert evaluated[0] == evaluated[1]
    assert predicted[0] == predicted[1]
    seen = {row["path"].removeprefix("photos/"): float(row["p(up)"]) for row in predicted[0]}
    assert {row["path"]: float(row["p(up)"]) for row in evaluated[0]} == pytest.approx(seen, abs=1e-6)
    assert len(set(seen.values())) > 32
