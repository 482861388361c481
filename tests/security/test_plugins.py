"""When a plugin's code runs: only where names are needed, and never where it is switched off."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from clsfit.storage import modelfile

Clsfit = Callable[..., subprocess.CompletedProcess[str]]
Run = Callable[..., bool]

MODULE = """
import os
open(os.environ["MARK"], "a").write("imported\\n")
from clsfit import Component, hookimpl

@hookimpl
def clsfit_losses():
    yield Component("cross_entropy", "marking_plugin:steal", "pretends to be the bundled one")
    yield Component("own", "marking_plugin:steal", "its own")

def steal():
    open(os.environ["MARK"], "a").write("called\\n")
    from torch.nn import CrossEntropyLoss
    return CrossEntropyLoss(reduction="none")
"""


@pytest.fixture
def run(tmp_path: Path, clsfit: Clsfit) -> Run:
    """``run("train", ...)``: whether the plugin's module was imported."""
    folder, mark = tmp_path / "site", tmp_path / "mark"
    info = folder / "clsfit_marking-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "marking_plugin.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clsfit-marking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clsfit]\nmarking = marking_plugin\n")
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

    def command(*arguments: object, code: int = 0, **env: str) -> bool:
        mark.unlink(missing_ok=True)
        clsfit(*arguments, code=code, PYTHONPATH=path, MARK=str(mark), **env)
        return mark.exists()

    return command


def test_commands_that_need_no_names_import_nothing(run: Run, attacked: SimpleNamespace) -> None:
    picture = attacked.data / "bars" / "000.png"
    assert not run("--help")
    assert not run("--version")
    assert not run("evaluate", "--help")
    assert not run("evaluate", attacked.run)
    assert not run("evaluate", attacked.run, attacked.data, "--json")
    assert not run("predict", attacked.run / "best.safetensors", picture)
    assert not run("import", attacked.run / "best.safetensors", "out.safetensors")
    assert not run("nothing", code=2)
    assert not run("evaluate", "missing", code=4)
    assert run("plugins", "list"), "this one needs names; or the test would see nothing"


@pytest.mark.parametrize("switch", ["--no-plugins", "--disable-plugin=marking", "--disable-plugin=clsfit-marking"])
def test_a_switch_comes_before_the_import(switch: str, run: Run, attacked: SimpleNamespace, tmp_path: Path) -> None:
    assert not run("plugins", "list", switch)
    assert not run("plugins", "show", "focal", switch)
    assert not run("config", "schema", switch)
    assert not run("train", attacked.data, "--model", "mlp", "--dry-run", switch)
    assert not run("train", attacked.data, "--help", switch)
    (tmp_path / "off.yaml").write_text("no_plugins: true\n")
    assert not run("train", attacked.data, "--dry-run", "-c", "off.yaml")
    assert not run("plugins", "list", CLSFIT_NO_PLUGINS="1")
    assert not run("plugins", "list", CLSFIT_DISABLE_PLUGINS="marking")


def test_a_bundled_name_is_never_the_stranger_s(run: Run, attacked: SimpleNamespace, tmp_path: Path) -> None:
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1, "-q")
    assert run("train", attacked.data, *small, "-o", "bundled")
    assert "called" not in (tmp_path / "mark").read_text()
    assert run("train", attacked.data, *small, "--loss", "clsfit-marking:cross_entropy", "-o", "asked")
    assert "called" in (tmp_path / "mark").read_text()
    names = {
        name: [
            plugin["distribution"] for plugin in modelfile.read(tmp_path / name / "last.safetensors").header["plugins"]
        ]
        for name in ("bundled", "asked")
    }
    assert names == {"bundled": ["clsfit"], "asked": ["clsfit-marking", "clsfit"]}
    assert not run("evaluate", "bundled")
    assert run("evaluate", "asked"), "what the file records is imported"
