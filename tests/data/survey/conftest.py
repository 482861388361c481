"""Small soft scenes in several versions, in folders, and the survey of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import survey as surveys
from clsfit.data.sources import folder
from clsfit.data.survey import Survey

Surveyed = Callable[..., Survey]


def scene(seed: int, height: int = 48, width: int = 64) -> Image.Image:
    """Large soft shapes and finer ones on them, in colour, as in a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, strength in ((3, 90), (9, 45)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += strength * (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 127.5 - 1)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


@pytest.fixture
def scenes() -> Callable[..., bytes]:
    """``scenes(seed, change, kind, **options)``: the bytes of a scene; ``change`` takes and gives an image."""

    def run(
        seed: int, change: Callable[[Image.Image], Image.Image] | None = None, kind: str = "PNG", **options: Any
    ) -> bytes:
        image = scene(seed)
        buffer = io.BytesIO()
        (image if change is None else change(image)).save(buffer, kind, **options)
        return buffer.getvalue()

    return run


@pytest.fixture
def surveyed(monkeypatch: pytest.MonkeyPatch, store: Path) -> Surveyed:
    """``surveyed(root)``: the survey of a folder, with a cache of this test's own."""
    monkeypatch.setenv("CLSFIT_CACHE", str(store))

    def run(root: Path, workers: int = 0) -> Survey:
        return surveys.survey(folder(root), str(root), workers)

    return run
