"""What several commands share: how they import torch."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.cli import common, main

Run = Callable[..., Any]

PROGRAM = """
import gc, sys
from clsfit.cli import main
assert gc.get_freeze_count() == 0
code = main(sys.argv[1:])
assert "torch" in sys.modules
print(gc.get_freeze_count(), gc.isenabled(), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of torchvision's, so that much more than torch is imported for it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    model = ["--model", "squeezenet1_1", "--input-size", "32", "--epochs", "1", "--callback", "none"]
    assert main(["train", str(pictures), *model, "-q", "-o", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("command", ["predict", "evaluate", "bench"])
def test_what_torch_makes_is_not_looked_through(command: str, trained: Path, pictures: Path, tmp_path: Path) -> None:
    """Nor is the process's end disturbed: torch's compiler has parts that complain where they are left behind."""
    arguments: list[object] = [command, pictures, "--model", "mlp", "--seconds", "0.05", "-q"]
    if command != "bench":
        arguments = [command, trained, pictures]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=tmp_path,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stderr.splitlines()
    count, running = last.split()
    assert said == []
    assert int(count) > 50_000
    assert running == "True"


def test_a_program_that_has_torch_is_left_alone(trained: Path, pictures: Path, run: Run) -> None:
    before = gc.get_freeze_count()
    run("predict", trained, pictures)
    assert gc.get_freeze_count() == before
    assert gc.isenabled()


@pytest.mark.parametrize("running", [True, False])
def test_the_collector_is_as_before_also_after_a_failure(running: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")

    def failing() -> None:
        with common.kept():
            assert not gc.isenabled()
            raise ImportError

    before = gc.get_freeze_count()
    if not running:
        gc.disable()
    try:
        with pytest.raises(ImportError):
            failing()
        assert gc.isenabled() is running
    finally:
        gc.enable()
    assert gc.get_freeze_count() == before, "what failed may be garbage"
