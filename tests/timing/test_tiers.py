"""Which tiers are measured where canvases of any size can lie on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clsfit
from clsfit.testing import draw_pictures


@pytest.fixture
def batch_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are cut in batches, as on a GPU."""
    for module in ("loader", "resident"):
        monkeypatch.setattr(f"clsfit.pipeline.{module}.form_of", lambda device: "batch")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of different sizes."""
    folder = draw_pictures(tmp_path / "photos", {"bars": 20, "dots": 20}, size=24)
    Image.new("L", (40, 30), 90).save(folder / "bars" / "wide.png")
    return folder


@pytest.mark.usefixtures("batch_form")
@pytest.mark.parametrize("cache", ["memory", "disk", "off"])
def test_canvases_on_the_device_are_measured_once(photos: Path, cache: str) -> None:
    options: dict[str, Any] = {"model": "mlp", "input_size": 16, "batch_size": 8, "device": "cpu", "cache": cache}
    found = clsfit.bench(photos, seconds=0.05, verbosity=0, augment="random_resized_crop", **options)
    assert found.chosen == ("stream" if cache == "off" else "resident")
    assert [name for name, tier in found.tiers.items() if tier.possible] == ["resident", "stream"]
    for name in ("memory", "disk"):
        assert found.tiers[name].why == "the pictures are resident"


@pytest.mark.usefixtures("batch_form")
def test_room_on_the_device_is_judged_for_all_pictures(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsfit.timing.sample import Sample

    def half(source: Any, *_: Any) -> Sample:
        return Sample(source, np.arange(0, 41, 2))

    options: dict[str, Any] = {"model": "mlp", "input_size": 16, "batch_size": 8, "device": "cpu", "cache": "memory"}
    monkeypatch.setattr("clsfit.pipeline.resident.most_bytes", lambda device: 25 * 28 * 40)  # of 41, padded
    monkeypatch.setattr("clsfit.timing.bench.sample", half)
    found = clsfit.bench(photos, seconds=0.05, verbosity=0, **options)
    assert found.setting["measured_pictures"] == 21
    assert found.chosen == "memory"
    assert found.tiers["resident"].why == "the pictures would take too much of the device's memory"


@pytest.mark.usefixtures("batch_form")
def test_without_room_on_the_device_all_others_are(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsfit.pipeline.resident.most_bytes", lambda device: 0)
    options: dict[str, Any] = {"model": "mlp", "input_size": 16, "batch_size": 8, "device": "cpu", "cache": "disk"}
    found = clsfit.bench(photos, seconds=0.05, verbosity=0, **options)
    assert found.chosen == "disk"
    assert [name for name, tier in found.tiers.items() if tier.possible] == ["memory", "disk", "stream"]
    assert found.tiers["resident"].why == "the pictures would take too much of the device's memory"
