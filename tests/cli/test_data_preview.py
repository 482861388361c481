"""``clsfit data preview``: the pictures that training sees, and no others."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data.sheet import sheet

Run = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path, drawn: Callable[..., Path]) -> Path:
    return Path(drawn(tmp_path / "photos", {"a": 12, "b": 8, "c": 5}, size=16))


def test_a_sheet_has_a_row_for_each_class(clsfit: Run, photos: Path, tmp_path: Path) -> None:
    done = clsfit("data", "preview", photos, "-o", "seen.png", "--pictures", 5, "--augment", "none")
    assert done.stdout == "seen.png\n"
    image = Image.open(tmp_path / "seen.png")
    assert image.format == "PNG"
    assert image.size == (4 + 5 * (96 + 4), 3 * (20 + 96 + 4))  # 16 pixels are enlarged six times
    pixels = np.asarray(image.convert("L"))
    cells = [pixels[20 + 120 * row : 116 + 120 * row, 4:100][3::6, 3::6] for row in range(3)]
    for name, cell in zip("abc", cells, strict=True):
        files = [np.asarray(Image.open(path).convert("L")) for path in sorted((photos / name).iterdir())]
        assert any((cell == file).all() for file in files), name
    assert (pixels[260:, 404:500][20:] == 255).all()  # c has four pictures to train on
    assert sorted(os.listdir(tmp_path)) == ["photos", "seen.png"]


@pytest.mark.parametrize("augments", [["none"], ["rotate", "hflip"], ["cutmix"]], ids=" ".join)
def test_they_are_the_pictures_of_the_first_epoch(photos: Path, tmp_path: Path, augments: list[str]) -> None:
    pytest.importorskip("torch")
    from clsfit.build import build_run, finish_of
    from clsfit.config import resolve
    from clsfit.data.processes import Decoders
    from clsfit.opening import take_in_wanted
    from clsfit.preview import preview_config
    from clsfit.registry import Plugins
    from clsfit.training import Control, settle

    options = {"data": str(photos), "augment": augments, "batch_size": "4", "seed": "3", "model": "mlp", "workers": "0"}
    config = resolve(Plugins.discover(), recipe=None, files=[], sets=[], options=options)
    seen = preview_config(config, 3, lambda line: None)
    with Decoders("threads", 0) as decoders:
        intake = take_in_wanted(
            config, None, accept_changes=False, strict=False, decoders=decoders, say=lambda line: None
        )
    settled, reporter, device = settle(config, intake, Control(verbosity=0), None)
    run = build_run(settled, intake, device, reporter, None)
    finish = finish_of(settled, intake)
    expected: dict[str, list[Any]] = {name: [] for name in intake.table.classes}
    for batch in run.epoch_batches():
        for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
            expected[intake.table.labels()[row]].append(image.permute(1, 2, 0).numpy() * finish.std + finish.mean)
    assert [*seen] == ["a", "b", "c"]
    for name, pictures in seen.items():
        assert len(pictures) == 3
        for picture, values in zip(pictures, expected[name][:3], strict=True):
            assert picture.shape == (16, 16, finish.channels)
            assert np.abs(picture - values * 255).max() < 0.51


def test_without_data_it_is_the_bundled_set(clsfit: Run, tmp_path: Path) -> None:
    clsfit("data", "preview", "-o", "seen.png", "-q")
    assert Image.open(tmp_path / "seen.png").size == (4 + 8 * 100, 10 * 120)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photos"], "there is no file to write"),
        (["photos", "-o", "seen.jpg"], "does not end in .png"),
        (["photos", "-o", "photos/seen.png"], "written into the data set"),
        (["photos", "-o", "nowhere/seen.png"], "nowhere"),
        (["photos", "-o", "seen.png", "--pictures", "0"], "--pictures"),
        (["photos", "-o", "seen.png", "--pictures", "many"], "--pictures"),
        (["photos", "-o", "seen.png", "--resume"], "--resume"),
        (["photos", "-o", "seen.png", "--zzzzzz"], "clsfit data preview --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(clsfit: Run, photos: Path, tmp_path: Path, words: list[str], said: str) -> None:
    done = clsfit("data", "preview", *words, code=2)
    assert said in done.stderr
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["", "\x1b[31m", "名前", "a" * 500, "\udcff", "\u202e"])
def test_any_name_can_be_drawn(name: str, channels: int) -> None:
    pictures = [np.zeros((7, 11, channels), dtype=np.uint8)] * 2
    image = Image.open(io.BytesIO(sheet({name: pictures, "other": []})))
    assert image.size == (4 + 2 * (99 + 4), 2 * (20 + 63 + 4))
