"""Thousands of damaged inputs: a documented exit code and three lines at most, never a traceback, memory bounded.

Each kind of input runs in a process of its own, under limits of memory and time. A failure names the seed,
and the folder in which the input lies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FUZZING = Path(__file__).parent / "fuzzing"
MEGABYTES = 400  # that all inputs of one process together may add to what torch and clsfit take
COUNTS = {
    "model-bytes": (20, 500),
    "model-header": (60, 1500),
    "run-files": (15, 600),
    "configuration": (40, 700),
    "command-line": (50, 1200),
    "checkpoint": (15, 500),
    "picture": (300, 5000),
    "manifest": (40, 500),
    "picture-in-a-set": (40, 500),
}
"""How many inputs of each kind: by default, and with the marker ``faults``."""

ALONE = ("checkpoint", "picture", "manifest", "picture-in-a-set")
"""Kinds in a process of their own; all others share one."""

PROCESSES = [
    pytest.param(tuple(kind for kind in COUNTS if kind not in ALONE), id="files-and-commands"),
    *(pytest.param((kind,), id=kind) for kind in ALONE),
]


def damaged(kinds: tuple[str, ...], seed: int, many: bool, attacked: SimpleNamespace, folder: Path) -> None:
    counts = {kind: COUNTS[kind][many] for kind in kinds}
    asked = ",".join(f"{kind}:{count}" for kind, count in counts.items())
    command = [sys.executable, str(FUZZING), asked, str(seed), str(attacked.folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, f"{asked}, seed {seed}: the process died\n{done.stderr[-2000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    shown = [
        f"{failed['kind']}, seed {seed}, input {failed['number']}: {failed['wrong']}\n"
        f"  arguments: {failed.get('arguments')!a}\n  files: {failed['files']}\n  stderr: {failed.get('stderr')!a}"
        for failed in found["failed"]
    ]
    assert not shown, "\n".join([f"{len(shown)} of {sum(counts.values())}; the first:", *shown[:3]])
    for kind, codes in found["codes"].items():
        assert sum(codes.values()) == counts[kind]
        assert len(codes) > 1 or kind == "model-bytes", f"{kind}: always {codes}, so nothing was tested"
    if sys.platform == "linux":
        assert found["grown"] >> 10 < MEGABYTES, f"{found['grown'] >> 10} MB"


@pytest.mark.parametrize("kinds", PROCESSES)
def test_damaged_inputs(kinds: tuple[str, ...], attacked: SimpleNamespace, tmp_path: Path) -> None:
    damaged(kinds, 1, False, attacked, tmp_path / "inputs")


@pytest.mark.first
@pytest.mark.faults
@pytest.mark.parametrize("kinds", PROCESSES)
def test_thousands_of_damaged_inputs(kinds: tuple[str, ...], attacked: SimpleNamespace, tmp_path: Path) -> None:
    damaged(kinds, 2, True, attacked, tmp_path / "inputs")


@pytest.mark.slow  # ten minutes on two cores; with --basetemp on a disk of some room
@pytest.mark.parametrize("seed", range(3, 13))
@pytest.mark.parametrize(("kind", "parts"), [("manifest", 4), ("picture-in-a-set", 10)])
def test_2000_tables_and_5000_pictures(
    kind: str, parts: int, seed: int, attacked: SimpleNamespace, tmp_path: Path
) -> None:
    if seed - 3 >= parts:
        pytest.skip(f"{parts} times 500 are all")
    damaged((kind,), seed, True, attacked, tmp_path / "inputs")
