"""Names of files are UTF-8 in every locale, so that a run's files and the data set agree on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there names are always Unicode")

POOR = {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MODULE = (sys.executable, "-m", "clsfit")
SCRIPT = (str(Path(sys.executable).with_name("clsfit")),)
SMALL = ("--model", "mlp", "--model.hidden", "4", "--threads", "1", "--epochs", "2")

Start = Callable[..., str]


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(pictures, tmp_path / "photos"))
    (folder / "dots").rename(folder / "größe")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """``start(program, "train", ..., env={})``: what it says in the end, exit code 0 asserted."""

    def run(program: Sequence[str], *words: Any, env: dict[str, str]) -> str:
        own = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | env
        done = subprocess.run([*program, *map(str, words)], cwd=tmp_path, env=own, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode("utf-8", "backslashreplace")
        return (done.stdout + done.stderr).decode()

    return run


@pytest.mark.parametrize("program", [MODULE, SCRIPT, (sys.executable, "-X", "dev", "-m", "clsfit")])
def test_a_poor_locale_changes_no_name(program: Sequence[str], start: Start, photos: Path) -> None:
    if not Path(program[0]).exists():
        pytest.skip("clsfit is not installed here")
    assert "größe 17" in start(program, "train", photos, *SMALL, "--dry-run", env=POOR)


def test_who_asks_for_the_poor_one_gets_it(start: Start, photos: Path) -> None:
    said = start((sys.executable, "-X", "utf8=0", "-m", "clsfit"), "train", photos, *SMALL, "--dry-run", env=POOR)
    assert "größe" not in said
    assert " 17, " in said


@pytest.mark.faults
@pytest.mark.parametrize(("first", "second"), [(POOR, POOR), (POOR, {}), ({}, POOR)])
def test_a_run_is_resumed_in_any_locale(
    start: Start, photos: Path, tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    command = ("train", photos, *SMALL, "-o", "run", "--resume")
    start(MODULE, *command, env=first)
    weights = (tmp_path / "run" / "last.safetensors").read_bytes()
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "last.safetensors").unlink()
    start(MODULE, *command, env=second)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == weights
