"""The real command on a small data set, what a run must end with, and each state that a run was saved in."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import clsfit
from clsfit.storage import checkpoints
from clsfit.testing import draw_pictures

SEED = int(os.environ.get("CLSFIT_TEST_SEED", "20261121"))
CLOCK = {"seconds", "train_images_per_second"}
PLUGIN = Path(__file__).parent / "plugin"

Outcome = dict[str, Any]
Command = Callable[..., list[str]]
Completed = subprocess.CompletedProcess[str]
Start = Callable[[list[str]], subprocess.Popen[str]]


@pytest.fixture
def seed() -> int:
    """What all chance in these tests is drawn from; ``CLSFIT_TEST_SEED`` sets another one."""
    return SEED


@pytest.fixture
def chance(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """The test's own draws; the same whichever tests run beside it."""
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of 16x16 in three classes."""
    return draw_pictures(tmp_path_factory.mktemp("faults") / "shapes", {"bars": 24, "dots": 22, "rings": 18}, size=16)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the module path that holds the distribution ``clsfit-faults``, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "clsfit_faults-1.0.dist-info").mkdir()
    (folder / "clsfit_faults-1.0.dist-info" / "METADATA").write_text("Name: clsfit-faults\nVersion: 1.0\n")
    (folder / "clsfit_faults-1.0.dist-info" / "entry_points.txt").write_text("[clsfit]\nfaults = clsfit_faults\n")
    return folder


@pytest.fixture(scope="session")
def command(small_set: Path) -> Command:
    """``command(output, options)``: the command that trains there, or goes on; options are one text."""

    def make(output: Path, options: str) -> list[str]:
        fixed = ["--threads", "1", "--resume", "-q"]
        return [sys.executable, "-m", "clsfit", "train", str(small_set), "-o", str(output), *options.split(), *fixed]

    return make


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> dict[str, str]:
    """The environment of the processes under test."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CLSFIT_")}
    path = os.pathsep.join(filter(None, (str(plugin), own.get("PYTHONPATH"))))
    cache = str(tmp_path_factory.getbasetemp() / "faults-cache")
    return own | {"PYTHONPATH": path, "CLSFIT_CACHE": cache, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def start(surroundings: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(command)`` begins it in a process group of its own; none outlives the test."""
    begun: list[subprocess.Popen[str]] = []

    def begin(words: list[str], **more: str) -> subprocess.Popen[str]:
        env = surroundings | more
        pipe = subprocess.PIPE
        done = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True)
        begun.append(done)
        return done

    yield begin
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@dataclass
class Ranks:
    """The processes of one run, of which each leads a session of its own."""

    processes: list[subprocess.Popen[bytes]]
    errors: Path
    port: int

    @property
    def said(self) -> str:
        """What all of them have written on the standard error that they share, in that order."""
        return self.errors.read_text()

    def codes(self, within: float = 60, but: Container[int] = ()) -> list[int | None]:
        """Waits, and returns exit codes by rank, None for ranks in ``but``, of which nothing is expected.

        Nothing that the others have started outlives them.
        """
        deadline, asked = time.monotonic() + within, [p for r, p in enumerate(self.processes) if r not in but]
        for process in asked:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"a rank is there after {within:g} s\n{self.said}") from None
        while left := living(process.pid for process in asked):
            assert time.monotonic() < deadline + 10, f"{left} are left behind"
            time.sleep(0.01)
        return [None if rank in but else process.returncode for rank, process in enumerate(self.processes)]


def living(sessions: Iterable[int]) -> list[int]:
    """The processes of these sessions that have not ended."""
    wanted, found = set(sessions), []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z" and int(session) in wanted:
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def ranks(surroundings: dict[str, str], free_port: Callable[[], int], tmp_path: Path) -> Iterator[Callable[..., Ranks]]:
    """``ranks(2, "train", data)``: that command as two processes of one run; none outlives the test.

    Args of the function: how many, the command's arguments, and as keywords ``only`` (the ranks that are started),
    ``env`` (variables of all), ``of`` (variables of a rank), ``also`` (a rank's further arguments), ``script``
    (what calls ``main``, in place of ``-m clsfit``) and ``port``.
    """
    begun: list[subprocess.Popen[bytes]] = []

    def start(
        number: int,
        *arguments: Any,
        only: Iterable[int] | None = None,
        env: Mapping[str, str] | None = None,
        of: Mapping[int, Mapping[str, str]] | None = None,
        also: Mapping[int, Iterable[Any]] | None = None,
        script: str = "",
        port: int = 0,
    ) -> Ranks:
        port = port or free_port()
        program = [sys.executable, *(["-c", script] if script else ["-m", "clsfit"])]
        errors = tmp_path / f"errors-{len(begun)}"
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in range(number) if only is None else only:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
            words = map(str, [*program, *arguments, *(also or {}).get(rank, ())])
            own = {**surroundings, **meet, **{k: str(v) for k, v in place.items()}, **(env or {})}
            with errors.open("ab") as file:
                begun.append(
                    subprocess.Popen(
                        [*words],
                        env=own | dict((of or {}).get(rank, {})),
                        cwd=tmp_path,
                        stdout=subprocess.DEVNULL,
                        stderr=file,
                        start_new_session=True,
                    )
                )
        return Ranks(begun[-number if only is None else -len([*only]) :], errors, port)

    yield start
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of the loopback that nobody uses."""

    def ask() -> int:
        with socket.socket() as asked:
            asked.bind(("127.0.0.1", 0))
            return int(asked.getsockname()[1])

    return ask


@pytest.fixture(scope="session")
def complete(surroundings: dict[str, str], run_in: Callable[..., Any]) -> Callable[..., Completed]:
    """``complete(command, code=0)`` runs it to its end and checks its exit code."""
    run_command = run_in(surroundings)

    def run(words: list[str], code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        assert words[:3] == [sys.executable, "-m", "clsfit"]
        returned, out, err = run_command(words[3:], Path.cwd(), surroundings | more)
        done = subprocess.CompletedProcess(words, returned, out.decode(), err.decode())
        assert returned == code, f"exit {returned}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], int]:
    """How many epochs a run has finished, as far as its log says."""

    def count(output: Path) -> int:
        with suppress(FileNotFoundError):
            return (output / "metrics.jsonl").read_bytes().count(b"\n")
        return 0

    return count


@pytest.fixture(scope="session")
def until() -> Callable[..., bool]:
    """``until(condition, process)`` waits; False where the process has ended before the condition held."""

    def wait(condition: Callable[[], Any], process: subprocess.Popen[str]) -> bool:
        deadline = time.monotonic() + 240
        while not condition():
            if process.poll() is not None:
                return False
            assert time.monotonic() < deadline, "neither came"
            time.sleep(0.0005)
        return True

    return wait


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], Outcome]:
    """Everything of a finished run that no interruption may change."""

    def of(output: Path) -> Outcome:
        names = ("last.safetensors", "best.safetensors")
        lines = (output / "metrics.jsonl").read_text().splitlines()
        return {
            **{n: hashlib.sha256((output / n).read_bytes()).hexdigest() for n in names if (output / n).exists()},
            "rows": [lasting(json.loads(line)) for line in lines],
            "summary": lasting(json.loads((output / "summary.json").read_text())),
        }

    return of


def lasting(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in CLOCK}


@pytest.fixture(scope="session")
def uninterrupted(
    command: Command, complete: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``uninterrupted(options)``: the directory of such a run that nobody disturbed, made on first use."""
    made: dict[str, Path] = {}

    def run(options: str) -> Path:
        if options not in made:
            made[options] = tmp_path_factory.mktemp("uninterrupted") / "run"
            complete(command(made[options], options))
        return made[options]

    return run


@pytest.fixture
def train(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``train(output, **options)`` starts or resumes a run in this process; returns its directory."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it changes no bit, and nobody cuts the power here

    def run(output: Path, **options: Any) -> Path:
        return clsfit.train(small_set, output=output, resume=True, verbosity=0, **options).directory

    return run


@pytest.fixture
def saves_of(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Path, list[tuple[int, Path]]]]:
    """``saves_of(name, **options)`` trains in this process and keeps the run as it was after each save.

    Each copy has a row too many in its log, as a kill leaves it that comes after the next epoch's end.
    Returns the finished run's directory, and (step, directory) of each save in order.
    """

    def run(name: str, **options: Any) -> tuple[Path, list[tuple[int, Path]]]:
        kept: list[tuple[int, Path]] = []
        plain = checkpoints.save

        def save(directory: Path, step: int, *args: Any, **more: Any) -> Path:
            saved = plain(directory, step, *args, **more)
            copy = tmp_path / f"{name}-{len(kept)}-step-{step}"
            shutil.copytree(directory.parent, copy, ignore=shutil.ignore_patterns(".tmp-*", ".old-*"))
            with (copy / "metrics.jsonl").open("a") as log:
                log.write('{"epoch": 99}\n')
            kept.append((step, copy))
            return saved

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "save", save)
            finished = train(tmp_path / name, **options)
        return finished, kept

    return run
