"""The catalogue of faults: a real command in a subprocess, the form of its message, what must not be lost."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.testing import draw_pictures

SMALL = ("--model", "mlp", "--model.hidden", "8", "--threads", "1")
DROP, OVERRIDES = 24, (1, 2)  # PR_CAPBSET_DROP; CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, code: int, out: bytes, err: bytes) -> Done:
        return cls(code, *(stream.decode("utf-8", "surrogateescape") for stream in (out, err)))

    @property
    def message(self) -> str:
        """The error's lines, without what was said before it."""
        at = self.err.rfind("clsfit: ")
        return self.err[at:] if self.code else ""


Fault = Callable[..., Done]


@pytest.fixture
def fault(tmp_path: Path, run_command: Callable[..., tuple[int, bytes, bytes]]) -> Fault:
    """``fault(5, "train", data, tells=["-o"])`` runs a command and checks its code and the form of its message.

    Args of the function: the exit code, the command's arguments, and as keywords ``tells`` (texts that the
    message must have), ``cwd``, ``env``, ``limits`` (resource -> soft and hard limit), ``ordinary`` (without a
    superuser's rights over other files) and ``stdin`` (bytes).
    """

    def run(
        code: int,
        *arguments: Any,
        tells: Sequence[str] = (),
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        limits: Mapping[int, int] | None = None,
        ordinary: bool = False,
        stdin: bytes = b"",
    ) -> Done:
        prctl = ctypes.CDLL(None).prctl if ordinary else None

        def before() -> None:
            for kind, limit in (limits or {}).items():
                resource.setrlimit(kind, (limit, limit))
            for right in OVERRIDES if ordinary else ():
                prctl(DROP, right, 0, 0, 0)  # fails where we have no such right, which is as well

        if limits or ordinary:
            result = start(["-m", "clsfit", *arguments], cwd or tmp_path, env or {}, stdin, before)
        else:
            result = Done.of(*run_command(arguments, cwd or tmp_path, environment(env or {}), stdin))
        check(result, code, tells)
        return result

    return run


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of a command; a variable of None is taken out."""
    own = dict(os.environ) | {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"} | dict(changes)
    return {name: value for name, value in own.items() if value is not None}


def start(
    arguments: Sequence[Any],
    cwd: Path,
    env: Mapping[str, str | None],
    stdin: bytes = b"",
    before: Callable[[], None] | None = None,
) -> Done:
    """Runs the interpreter."""
    words = [argument if isinstance(argument, bytes) else str(argument) for argument in arguments]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment(env),
        input=stdin,
        capture_output=True,
        preexec_fn=before,
        timeout=240,
    )
    return Done.of(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def python_script(tmp_path: Path) -> Callable[..., Done]:
    """``python_script(text, "train", ..., env={})``: a script that breaks something and then calls ``main``."""

    def run(script: str, *arguments: Any, env: Mapping[str, str | None] | None = None) -> Done:
        return start(["-c", script, *arguments], tmp_path, env or {})

    return run


PEAK = """
import os, resource, sys
from clsfit.cli import main
code = main(sys.argv[1:])
with open("peak", "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
sys.exit(code)
"""


@pytest.fixture
def peak(python_script: Callable[..., Done], tmp_path: Path) -> Callable[..., int]:
    """``peak("train", data, code=0)``: the bytes of memory that a command held at most."""

    def run(*arguments: Any, code: int = 0) -> int:
        check(python_script(PEAK, *arguments), code, [])
        return int((tmp_path / "peak").read_text()) * 1024

    return run


def check(done: Done, code: int, tells: Sequence[str]) -> None:
    """The documented code; three lines at most, with what they must name; no traceback; nothing steers a terminal."""
    assert done.code == code, f"exit {done.code}, not {code}\n{done.out}\n{done.err}"
    assert "Traceback" not in done.err, done.err
    assert done.err.replace("\n", "").isprintable() or "�" in done.err, ascii(done.err)
    if code:
        lines = done.message.splitlines()
        assert 2 <= len(lines) <= 3, done.err  # a message with one line has no remedy
        assert lines[0].startswith("clsfit: error: "), done.err
        assert "bug in clsfit" not in done.err
    for text in tells:
        assert text in (done.message if code else done.err), f"{text!r} is not in\n{done.err}"


@pytest.fixture
def checked() -> Callable[[Done, int, Sequence[str]], None]:
    """The same check for a command that a test has run by itself."""
    return check


def state(root: Path) -> dict[str, Any]:
    """Names, modes, times and contents of everything below ``root``, and of itself."""
    result: dict[str, Any] = {}
    waiting = [os.fsencode(root)]
    while waiting:
        path = waiting.pop()
        info = os.lstat(path)
        content = ""
        if os.path.islink(path):
            content = ascii(os.readlink(path))
        elif os.path.isdir(path):
            waiting += [os.path.join(path, name) for name in os.listdir(path)]
        elif os.path.isfile(path):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        result[ascii(path)] = (info.st_mode, info.st_mtime_ns, content)
    return result


@pytest.fixture
def kept() -> Iterator[Callable[[Path], Path]]:
    """``kept(folder)``: what lies there must be, byte for byte and in times, as it is, when the test ends."""
    before: dict[Path, dict[str, Any]] = {}

    def keep(root: Path) -> Path:
        before[root] = state(root)
        return root

    yield keep
    for root, was in before.items():
        assert state(root) == was, f"{root} was changed"


@pytest.fixture(scope="session")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(
        tmp_path_factory.mktemp("catalogue") / "shapes", {"bars": 22, "dots": 22, "rings": 20}, size=16
    )


@pytest.fixture
def data(drawn_once: Path, kept: Callable[[Path], Path]) -> Path:
    """64 pictures of 16 pixels in three classes, that no command may change."""
    return kept(drawn_once)


@pytest.fixture
def mutable(drawn_once: Path, tmp_path: Path) -> Path:
    """A copy of ``data`` to be damaged."""
    return Path(shutil.copytree(drawn_once, tmp_path / "shapes"))


def train_options(epochs: int = 2) -> list[str]:
    """Options of a run with a checkpoint after each of its steps."""
    return [*SMALL, "--epochs", str(epochs), "--batch-size", "16", "--callback.checkpoint.every_steps", "1", "-q"]


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of a quick run with a checkpoint after each step."""
    return train_options()


@pytest.fixture(scope="session")
def finished(drawn_once: Path, tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., Any]) -> Path:
    """A finished run on ``data``, which nobody changes."""
    run = tmp_path_factory.mktemp("catalogue") / "finished"
    code, _, said = run_command(["train", drawn_once, *train_options(), "-o", run], run.parent, environment({}))
    assert code == 0, said
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def stopped(run: Path) -> Path:
    """A run as a kill leaves it between its last checkpoint and its end."""
    for name in ("summary.json", "best.safetensors", "last.safetensors"):
        (run / name).unlink(missing_ok=True)
    return run


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """``png(seed, height, width)``: the bytes of a grey picture."""

    def make(seed: int = 0, height: int = 8, width: int = 8) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def tree(tmp_path: Path, png: Callable[..., bytes]) -> Callable[..., Path]:
    """``tree({"cat/": 3, "dog/a.png": b"...", "empty/": 0})``: a data set; a number makes as many pictures."""

    def make(content: Mapping[str, int | bytes], name: str = "tree") -> Path:
        top, seed = tmp_path / name, 0
        top.mkdir(exist_ok=True)
        for below, what in content.items():
            path = top / below
            if isinstance(what, bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(what)
                continue
            path.mkdir(parents=True, exist_ok=True)
            for number in range(what):
                seed += 1
                (path / f"{number}.png").write_bytes(png(seed))
        return top

    return make
