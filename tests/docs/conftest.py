"""Following a page as a reader would: its commands one after the other, its outputs compared."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Follow = Callable[[Path, Path], None]

_BLOCK = re.compile(r"(?:<!-- test: (?P<test>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n", re.S)
_NUMBER = re.compile(r"\d+(?:\\?[.,]\d+)*")


@dataclass
class Step:
    """A shell block: its text, what the comment above it asks for, the output shown below it."""

    text: str
    test: str
    shown: str = ""

    @property
    def exit_code(self) -> int:
        found = re.search(r"exit (\d+)", self.test)
        return int(found[1]) if found else 0


def steps(page: Path, folder: Path) -> Iterator[Step]:
    """The shell blocks to run; ``<!-- test: file NAME -->`` is written into ``folder`` on the way."""
    step: Step | None = None
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        test, language, text = block["test"] or "", block["language"], block["text"]
        if test.startswith("file "):
            (folder / test.removeprefix("file ")).write_text(text, encoding="utf-8")
        elif language == "sh":
            if step is not None:
                yield step
            step = Step(text, test) if test != "skip" else None
        elif language == "text" and step is not None:
            step.shown = text
    if step is not None:
        yield step


def run(step: Step, folder: Path) -> str:
    """What the block prints, standard error included; with Ctrl-C where the page says so."""
    paths = (str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ["PATH"])
    env = os.environ | {"PATH": os.pathsep.join(paths), "COLUMNS": "200", "CLSFIT_DEVICE": "cpu"}
    wanted = re.search(r'Ctrl-C after "(.*?)"', step.test)
    command = shlex.split(step.text) if wanted else ["bash", "-euo", "pipefail", "-c", step.text]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    lines = []
    with process:
        for line in process.stdout:
            lines.append(line)
            if wanted and line.startswith(wanted[1]):
                process.send_signal(signal.SIGINT)
    output = "".join(lines)
    assert process.returncode == step.exit_code, f"{step.text}exit {process.returncode}\n{output}"
    return output


def check(step: Step, output: str) -> None:
    """Each shown line is printed, in this order; numbers may differ and ``...`` is anything."""
    rest = output.splitlines()
    for shown in filter(lambda line: line.strip() not in {"", "..."}, step.shown.splitlines()):
        pattern = re.escape(shown.rstrip()).replace(r"\.\.\.", ".*")
        wanted = re.compile(re.sub(r"(\\ )+", r"\\s+", _NUMBER.sub(r"[\\d.,e-]+", pattern)))
        while rest and not wanted.fullmatch(rest[0].rstrip()):
            rest.pop(0)
        assert rest, f"{step.text}does not print\n{shown}\nbut\n{output}"
        rest.pop(0)


@pytest.fixture
def follow() -> Follow:
    """``follow(page, folder)`` runs a page's commands in ``folder`` and compares what they print."""

    def all_steps(page: Path, folder: Path) -> None:
        for step in steps(page, folder):
            check(step, run(step, folder))

    return all_steps


@pytest.fixture
def compare() -> Callable[[str, str], None]:
    """``compare(shown, printed)``: what :func:`check` does."""
    return lambda shown, printed: check(Step("", "", shown), printed)
