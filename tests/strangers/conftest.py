"""Virtual environments into which pip has installed the distributions under packages/."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

PACKAGES = Path(__file__).parent / "packages"
BROKEN = ("clsfit-raises", "clsfit-exits", "clsfit-misspelt")
SEVERAL = """
import contextlib, json, sys, tempfile
from clsfit.cli import main

results = []
for arguments in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        out.seek(0), err.seek(0)
        results.append([int(code), out.read(), err.read()])
print(json.dumps(results))
"""
ALL_SIX = (
    *("--model", "pocket", "--loss", "tempered", "--optimizer", "rmsprop", "--scheduler", "staircase"),
    *("--metric", "hits", "--callback", "diary"),
)


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment over the current interpreter's, with some plugins of its own."""

    folder: Path
    cache: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def clsfit(
        self, *arguments: object, code: int = 0, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command in ``cwd`` and checks its exit code."""
        done = self._run("-m", "clsfit", *map(str, arguments), cwd=cwd, env=env)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def several(self, *commands: Sequence[object], **env: str) -> list[Done]:
        """Runs commands one after another in one process, which saves importing torch for each."""
        asked = json.dumps([[str(argument) for argument in command] for command in commands])
        done = self._run("-c", SEVERAL, cwd=None, env=env, stdin=asked)
        assert done.returncode == 0, done.stderr
        return [Done(*result) for result in json.loads(done.stdout)]

    def _run(
        self, *arguments: str, cwd: Path | None, env: Mapping[str, str], stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLSFIT_")}
        own |= {"CLSFIT_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env=own | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def pip(self, *arguments: object) -> None:
        """pip as a user runs it in this environment, without a network."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "-q",
                "--disable-pip-version-check",
                "--python",
                self.python,
                *map(str, arguments),
            ],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr

    def install(self, *distributions: str) -> None:
        options = ("--no-build-isolation", "--no-deps", "--no-index")
        self.pip("install", *options, *(PACKAGES / distribution for distribution in distributions))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """``environment("clsfit-stranger")``: one with these distributions installed, made on first use."""
    made: dict[tuple[str, ...], Environment] = {}

    def make(*distributions: str, fresh: bool = False) -> Environment:
        if fresh or distributions not in made:
            folder = tmp_path_factory.mktemp("environment")
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=240)
            new = Environment(folder, tmp_path_factory.getbasetemp() / "strangers-cache")
            variables = {"base": str(folder), "platbase": str(folder)}
            own = Path(sysconfig.get_path("purelib", "venv", variables))
            # what this interpreter has, also by the .pth files of editable installs
            parents = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
            lines = [f"import site; site.addsitedir({parent!r})\n" for parent in parents]
            (own / "the_interpreter_below.pth").write_text("".join(lines))
            new.install(*distributions)
            if fresh:
                return new
            made[distributions] = new
        return made[distributions]

    return make


@pytest.fixture(scope="session")
def strangers(environment: Callable[..., Environment]) -> Environment:
    """The stranger's plugin, and a bystander's that leaves a trace when it is imported."""
    return environment("clsfit-stranger", "clsfit-bystander")


@pytest.fixture(scope="session")
def broken(environment: Callable[..., Environment]) -> Environment:
    """The stranger's plugin, and three that cannot be loaded."""
    return environment("clsfit-stranger", *BROKEN)


@pytest.fixture(scope="session")
def faulty(environment: Callable[..., Environment]) -> Environment:
    """Components that can be loaded but break their contracts."""
    return environment("clsfit-faulty")


@pytest.fixture(scope="session")
def trained(strangers: Environment, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of three epochs with all six of the stranger's components: ``.directory``, ``.stderr``, ``.command``."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    options = ("--epochs", 3, "--batch-size", 8, "--scheduler.every", 2, "--callback.checkpoint.every_steps", 1)
    command = ("train", pictures, *ALL_SIX, *options)
    done = strangers.clsfit(*command, "-o", directory)
    return SimpleNamespace(directory=directory, stderr=done.stderr, command=command)


@pytest.fixture(scope="session")
def all_six() -> tuple[str, ...]:
    """Options that select the stranger's component of each kind."""
    return ALL_SIX
