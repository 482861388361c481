"""Fixtures for all tests: small real pictures, and the command line in a real subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.testing import draw_pictures

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tests run side by side

# A shell's background jobs ignore Ctrl-C, nohup ignores SIGHUP, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

Clsfit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the user's, a cache of the test session's own."""
    for name in [name for name in os.environ if name.startswith("CLSFIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def clsfit(tmp_path: Path) -> Clsfit:
    """``clsfit("train", "photos", code=2)`` runs the command in ``tmp_path`` and checks its exit code."""

    def run(*arguments: object, code: int = 0, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "clsfit", *map(str, arguments)],
            cwd=cwd or tmp_path,
            env=os.environ | env,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def drawn() -> Any:
    """The function that draws a data set: ``drawn(folder, {"a": 20, "b": 30}, size=8)``."""
    return draw_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 8x8 grey pictures, 63 in all, unbalanced."""
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "shapes", {"bars": 30, "dots": 21, "rings": 12})
