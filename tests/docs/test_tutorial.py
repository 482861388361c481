"""The tutorial's commands, run one after the other as a reader would."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-run.md"
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


def steps(folder: Path) -> Iterator[Step]:
    """The shell blocks to run; files that the page gives are written into ``folder`` on the way."""
    step: Step | None = None
    for block in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        test, language, text = block["test"] or "", block["language"], block["text"]
        if language == "text" and step is not None:
            step.shown = text
        elif language == "sh" and test != "skip":
            if step is not None:
                yield step
            step = Step(text, test)
        elif language == "python":
            assert test.startswith("file "), f"a program without a name: {text[:40]!r}"
            (folder / test.removeprefix("file ")).write_text(text, encoding="utf-8")
    assert step is not None
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


def test_every_command_does_what_the_page_shows(tmp_path: Path) -> None:
    for step in steps(tmp_path):
        check(step, run(step, tmp_path))
    summary = json.loads((tmp_path / "runs/digits-small_cnn/summary.json").read_text())
    assert summary["best"]["value"] >= 0.98
    rows = [json.loads(line) for line in (tmp_path / "runs/long/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31)), "the resumed run has each epoch once"


def test_a_line_that_is_not_printed_is_found() -> None:
    step = Step("clsfit train", "", "epoch 1/20  ...  val/accuracy 0.9\n...\nfinished: all epochs done\n")
    check(step, "epoch 1/20  train/loss 1e-05  val/accuracy 1.0000\n\nfinished: all epochs done\n")
    with pytest.raises(AssertionError, match="does not print"):
        check(step, "finished: all epochs done\nepoch 1/20  train/loss 2  val/accuracy 1.0000\n")
