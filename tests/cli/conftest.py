"""The command line in this process: quick, and with its two streams apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clsfit.cli import main


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("train", "--epochs", 0, code=2)`` in an empty folder; the exit code is checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object, code: int = 0) -> Done:
        capfdbinary.readouterr()
        got = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        done = Done(got, out.decode("utf-8", "surrogateescape"), err.decode())
        assert done.code == code, done
        return done

    return call
