"""``clsfit bench`` as a user runs it: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clsfit as package
from clsfit.testing import draw_pictures

Clsfit = Callable[..., subprocess.CompletedProcess[str]]

SHORT = ("--seconds", 0.05, "--device", "cpu")
PACE = {"rate", "low", "high", "stretches"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of different sizes, which cannot be resident."""
    folder = draw_pictures(tmp_path / "photos", {"bars": 40, "dots": 30}, size=24)
    Image.new("L", (40, 30), 90).save(folder / "bars" / "wide.png")
    return folder


def files(*folders: Path) -> dict[str, tuple[int, bytes]]:
    """All files below ``folders``: when they were changed, and what they hold."""
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def check_pace(pace: dict[str, Any]) -> None:
    assert pace.keys() == PACE
    assert 0 < pace["low"] <= pace["rate"] <= pace["high"]
    assert pace["stretches"] >= 1


def check(found: dict[str, Any]) -> None:
    """What holds for every result, whatever was measured and however fast."""
    assert list(found) == [
        *("setting", "tiers", "step", "whole", "waiting", "ceiling", "ceiling_is", "trials", "advice", "chosen"),
        "steady",
    ]
    assert list(found["tiers"]) == ["resident", "memory", "disk", "stream"]
    for name, tier in found["tiers"].items():
        assert tier.keys() == {"possible", "chosen", "why", "first_epoch", "later_epochs"}
        assert tier["chosen"] == (name == found["chosen"])
        if tier["possible"]:
            check_pace(tier["later_epochs"])
            assert 0 < tier["first_epoch"] < tier["later_epochs"]["rate"]  # it also decodes
        else:
            assert tier["why"]
            assert (tier["first_epoch"], tier["later_epochs"]) == (None, None)
    assert found["tiers"][found["chosen"]]["possible"]
    assert 0 <= found["waiting"] <= 1
    for pace in [found["step"], found["whole"], found["ceiling"], *(trial["pace"] for trial in found["trials"])]:
        check_pace(pace)
    assert found["advice"]
    for advice in found["advice"]:
        assert advice.keys() == {"change", "tier", "why"}
        assert found["tiers"][advice["tier"]]["possible"]
        assert advice["tier"] in advice["why"]


def test_digits_as_json(clsfit: Clsfit, tmp_path: Path) -> None:
    done = clsfit("bench", *SHORT, "--json")
    found = json.loads(done.stdout)
    check(found)
    assert done.stdout.count("\n") == 1
    assert "clsfit: training\n" in done.stderr
    setting = found["setting"]
    assert (setting["pictures"], setting["input_size"]) == (1797, [8, 8])
    assert 1200 <= setting["measured_pictures"] <= 1797  # 30 batches, and a fifth of all to validate on
    assert (setting["model"], setting["batch_size"], setting["device"]) == ("small_cnn", 32, "cpu")
    assert found["chosen"] == "resident"
    assert not found["tiers"]["memory"]["possible"]
    assert found["ceiling_is"] == "torch.optim.adamw.AdamW"
    assert found["trials"][0]["change"] == "--batch-size 64"
    assert list(tmp_path.iterdir()) == []


def test_ones_own_pictures_as_a_table(clsfit: Clsfit, photos: Path) -> None:
    options = ("--cache", "disk", "--model", "mlp", "--batch-size", 8, "--augment", "hflip", "--optimizer", "sgd")
    done = clsfit("bench", "photos", *SHORT, *options, "-q")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "data     71 pictures, 224x224 grey"
    assert lines[1] == "run      mlp, batch 8, cpu, fp32, step eager"
    named = [line[:28].strip() for line in lines[5:]]
    assert named[:8] == [
        *("data: memory", "its first epoch", "data: disk (chosen)", "its first epoch", "data: stream"),
        *("its first epoch", "step alone", "whole"),
    ]
    assert any(line.startswith("waiting for pictures: ") for line in lines)
    assert any(line.startswith("not resident: ") for line in lines)
    assert lines[-2].startswith("change")


def test_options_reach_what_is_measured(clsfit: Clsfit, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {name: mlp, hidden: [4]}\nbatch_size: 5\n")
    options = ("-c", "base.yaml", "--set", "input_size=16", "--loss", "focal", "--loss.gamma", 3, "--workers", 0)
    found = json.loads(clsfit("bench", photos, *SHORT, *options, "--cache", "off", "--json").stdout)
    check(found)
    setting = found["setting"]
    assert (setting["model"], setting["batch_size"], setting["input_size"]) == ("mlp", 5, [16, 16])
    assert (setting["workers"], found["chosen"]) == (0, "stream")


@pytest.mark.parametrize("cache", ["disk", "off"])
def test_nothing_is_left_behind(clsfit: Clsfit, photos: Path, tmp_path: Path, cache: str) -> None:
    (tmp_path / "here").mkdir()
    kept = tmp_path / "cache"
    (kept / "canvases").mkdir(parents=True)
    (kept / "canvases" / "others.canvases").write_bytes(b"of another run")
    before = files(tmp_path)
    options = ("--model", "mlp", "--cache", cache, "--callback", "checkpoint", "--callback", "ema")
    clsfit("bench", photos, *SHORT, *options, cwd=tmp_path / "here", CLSFIT_CACHE=str(kept))
    assert files(tmp_path) == before
    assert sorted(path.name for path in kept.rglob("*")) == ["canvases", "others.canvases"]


def test_unreadable_pictures(clsfit: Clsfit, photos: Path) -> None:
    (photos / "bars" / "a.png").write_bytes((photos / "bars" / "wide.png").read_bytes()[:60])
    refused = clsfit("bench", photos, *SHORT, "--model", "mlp", code=3)
    assert "bars/a.png" in refused.stderr
    found = json.loads(clsfit("bench", photos, *SHORT, "--model", "mlp", "--skip-bad", "--json").stdout)
    check(found)
    assert (found["setting"]["pictures"], found["setting"]["measured_pictures"]) == (72, 71)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--seconds", "0"], 2, "--seconds"),
        (["--seconds", "nan"], 2, "--seconds"),
        (["--seconds", "1e9"], 2, "--seconds"),
        (["--seconds", "long"], 2, "--seconds"),
        (["--second", "1"], 2, "--seconds"),
        (["--overwrite"], 2, "--overwrite"),
        (["-o", "run"], 2, "-o"),
        (["--loss", "focal", "--loss.gama", "1"], 2, "--loss.gamma"),
        (["--zzz"], 2, "clsfit bench --help"),
        (["--set", "data=nowhere"], 3, "nowhere"),
        (["--loss.class_weights", "{zz: 2}"], 2, "zz"),
        (["--model", "mlp", "--model.weights", "nowhere"], 4, "nowhere"),
        (["--optimizer", "sgd", "--optimizer.lr", "1e30"], 6, "not finite"),
    ],
)
def test_what_is_refused(clsfit: Clsfit, tmp_path: Path, options: list[str], code: int, says: str) -> None:
    done = clsfit("bench", "--device", "cpu", "--seconds", 0.05, "-q", *options, code=code)
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


LINGERS = """
import sys
from clsfit.cli import bench, main
from clsfit.timing import meter

moment, photos = sys.argv[1:]
begin = meter.Meter.__init__
said = []

def print_(line, file):
    said.append(line)
    print(line, file=file, flush=True)

def lingering(self, seconds, *more):
    begin(self, 1000.0 if said[-1] == f"clsfit: {moment}" else seconds, *more)

bench.print = print_
meter.Meter.__init__ = lingering
sys.exit(main(["bench", photos, "--model", "mlp", "--seconds", "0.05", "--device", "cpu"]))
"""
"""The command, whose measurement of a moment takes so long that it can be interrupted there."""


@pytest.mark.parametrize(
    ("number", "code", "moment"), [(signal.SIGTERM, 143, "pictures alone: disk"), (signal.SIGINT, 130, "training")]
)
def test_it_can_be_interrupted(photos: Path, tmp_path: Path, number: signal.Signals, code: int, moment: str) -> None:
    kept = tmp_path / "cache"
    process = subprocess.Popen(
        [sys.executable, "-c", LINGERS, moment, str(photos)],
        cwd=tmp_path,
        env=os.environ | {"CLSFIT_CACHE": str(kept)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line == f"clsfit: {moment}\n":
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == code
    assert "Traceback" not in rest
    assert not kept.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_from_python(pictures: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = package.bench(pictures, seconds=0.05, model="mlp", device="cpu", verbosity=0, augment=["hflip"])
    assert capfd.readouterr() == ("", "")
    check(json.loads(json.dumps(found.to_json())))
    assert found.setting["pictures"] == 63
    assert np.isclose(found.whole.rate, found.to_json()["whole"]["rate"])


def test_without_a_hand_written_loop(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clsfit.cli.bench import report
    from clsfit.timing import loops

    monkeypatch.setattr(loops, "hand_written", lambda *args, **kwargs: (None, "none: it evaluates twice"))
    found = package.bench(pictures, seconds=0.05, model="mlp", device="cpu", verbosity=0)
    assert (found.ceiling, found.trials) == (None, ())
    assert "hand-written loop: none: it evaluates twice" in list(report(found))


def test_a_batch_that_is_too_large_to_try(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsfit.errors import ResourceError
    from clsfit.timing import loops

    measure = loops.hand_written

    def scarce(*args: Any, times: int = 1, **more: Any) -> Any:
        if times > 1:
            raise ResourceError("out of memory")
        return measure(*args, **more)

    monkeypatch.setattr(loops, "hand_written", scarce)
    found = package.bench(pictures, seconds=0.05, model="mlp", device="cpu", verbosity=0, threads=1)
    assert found.ceiling is not None
    assert not [trial for trial in found.trials if trial.change.startswith("--batch-size")]
