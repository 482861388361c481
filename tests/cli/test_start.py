"""Commands that only tell something never import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "sklearn", "scipy", "pandas"}
PROGRAM = """
import sys
from clsfit.cli import main
code = main(sys.argv[1:])
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def loaded(*arguments: str, cwd: Path, code: int = 0, **env: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["plugins", "list"], 0),
        (["plugins", "list", "--json"], 0),
        (["plugins", "show", "focal"], 0),
        (["config", "schema"], 0),
        (["train", "--help"], 0),
        (["train", "--loss", "focal", "--help"], 0),
        (["train", "--print-config"], 0),
        (["train", "--epoch", "3"], 2),
        (["train", "--loss", "focl"], 2),
        (["train", "--loss.gamma", "3"], 2),
        (["train", "--epochs", "many"], 2),
        (["train", "nowhere"], 3),
        (["bench", "--help"], 0),
        (["bench", "--loss", "focal", "--help"], 0),
        (["bench", "--seconds", "-1"], 2),
        (["bench", "nowhere"], 3),
        (["evaluate", "nowhere"], 4),
        (["predict", "nowhere", "x.png"], 4),
        (["predict", "nowhere", "x.png", "-o", "x.pdf"], 2),
        (["evaluate", "nowhere", "--fail-under", "accuracy"], 2),
        (["trian"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_telling_needs_no_torch(arguments: list[str], code: int, tmp_path: Path) -> None:
    modules = loaded(*arguments, cwd=tmp_path, code=code)
    assert "clsfit" in modules
    assert not modules & HEAVY


def test_evaluate_and_predict_import_no_plugin_to_find_a_usage_error(tmp_path: Path) -> None:
    for command in ("evaluate", "predict"):
        modules = loaded(command, "nowhere", "nothing", cwd=tmp_path, code=4)
        assert "clsfit_standard" not in modules


def test_completion_needs_no_torch(tmp_path: Path) -> None:
    program = PROGRAM.replace("code = main(sys.argv[1:])", "code = main([])")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ
        | {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": "clsfit train --loss focal --loss.", "COMP_CWORD": "4"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["--loss.gamma", "--loss.class_weights"]
    assert not set(done.stderr.split()) & HEAVY


def test_python_m_clsfit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clsfit", "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith("clsfit ")
