"""Fixtures for all tests: small real pictures, and the command line in a real subprocess."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
Ended = tuple[int, bytes, bytes]
RunCommand = Callable[..., Ended]


@pytest.hookimpl(trylast=True)  # when those that are not asked for have been left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest, so that no process does it alone at the end; a file's tests stay together."""
    files = {item.path for item in items if item.get_closest_marker("first")}
    items.sort(key=lambda item: item.path not in files)


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No configuration of the user's, a cache of the test session's own, nothing left for the next test."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("CLSFIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    # torch's compiler leaves names of folders, a group of processes the one of its device; with them in the
    # environment no later command of this process would be a fork.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name in [name for name, value in before.items() if os.environ.get(name) != value]:
        os.environ[name] = before[name]


@pytest.fixture(scope="session")
def run_in() -> Iterator[Callable[[Mapping[str, str]], RunCommand]]:
    """``run_in(environment)`` gives ``run(words, cwd, env)``: ``clsfit WORDS`` in a process of its own.

    That is a fork of one that has imported torch in ``environment``, unless ``env`` asks for another
    interpreter. What it returns: exit code, stdout, stderr.
    """
    spec = importlib.util.spec_from_file_location("forks", Path(__file__).with_name("forks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    begun: list[Any] = []

    def start(environment: Mapping[str, str]) -> RunCommand:
        forks = module.Forks(environment) if sys.platform == "linux" else None
        begun.extend([forks] if forks else [])

        def run(
            words: Sequence[Any], cwd: Path, env: Mapping[str, str], stdin: bytes = b"", timeout: float = 240
        ) -> Ended:
            words = [word if isinstance(word, bytes) else str(word) for word in words]
            if forks is not None and forks.fit(env):
                return forks.run(words, cwd, env, stdin, timeout)
            command = [sys.executable, "-m", "clsfit", *words]
            done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, timeout=timeout, input=stdin)
            return done.returncode, done.stdout, done.stderr

        return run

    yield start
    for forks in begun:
        forks.close()


@pytest.fixture(scope="session", autouse=True)
def first_environment() -> dict[str, str]:
    """The environment before the first test, which may set more before it starts the first command."""
    return dict(os.environ)


@pytest.fixture(scope="session")
def run_command(run_in: Callable[[Mapping[str, str]], RunCommand], first_environment: dict[str, str]) -> RunCommand:
    """``run_command(words, cwd, env)``, quick where ``env`` is like this process' own; see ``run_in``."""
    return run_in(first_environment)


@pytest.fixture
def clsfit(tmp_path: Path, run_command: RunCommand) -> Clsfit:
    """``clsfit("train", "photos", code=2)`` runs the command in ``tmp_path`` and checks its exit code."""

    def run(*arguments: object, code: int = 0, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        returned, *streams = run_command(arguments, cwd or tmp_path, os.environ | env)
        out, err = (stream.decode("utf-8", "surrogateescape") for stream in streams)
        assert returned == code, f"exit {returned}\n{out}\n{err}"
        return subprocess.CompletedProcess([*map(str, arguments)], returned, out, err)

    return run


@pytest.fixture
def drawn() -> Any:
    """The function that draws a data set: ``drawn(folder, {"a": 20, "b": 30}, size=8)``."""
    return draw_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 8x8 grey pictures, 63 in all, unbalanced."""
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "shapes", {"bars": 30, "dots": 21, "rings": 12})
