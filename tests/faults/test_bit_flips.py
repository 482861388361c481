"""Damage to a real checkpoint and a real model file, by single bits and by length: all found, none loaded."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clsfit.errors import CheckpointError
from clsfit.storage import checkpoints, modelfile

pytestmark = pytest.mark.faults

FLIPS = 1000
LENGTHS = 100
OPTIONS = (
    "--model small_cnn --model.width 8 --model.dropout 0.2 --optimizer adamw --epochs 12 --batch-size 16 "
    "--callback.checkpoint.every_steps 5"
)


@pytest.fixture
def run(uninterrupted: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(uninterrupted(OPTIONS), tmp_path / "run")


@contextmanager
def changed(path: Path, harm: Callable[[bytearray], None]) -> Iterator[None]:
    """The file with some harm done to it, until the end of the block."""
    whole = path.read_bytes()
    data = bytearray(whole)
    harm(data)
    assert data != whole
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def flip(bit: int) -> Callable[[bytearray], None]:
    def harm(data: bytearray) -> None:
        data[bit // 8] ^= 1 << bit % 8

    return harm


def resize(data: bytearray, chance: random.Random) -> None:
    """Cuts off what is behind a random place, or adds a few bytes."""
    if chance.random() < 0.5:
        del data[chance.randrange(len(data)) :]
    else:
        data.extend(chance.randbytes(chance.randint(1, 9)))


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def expect_skipped(run: Path, damaged: Path, what: str) -> None:
    found, skipped = checkpoints.newest_verified(run / "checkpoints")
    assert found is not None, what
    assert found.path != damaged.parent, what
    assert [path for path, _ in skipped] == [damaged.parent], what
    assert damaged.name in skipped[0][1] or damaged.name == "manifest.json", what


def test_every_flipped_bit_of_a_checkpoint_is_found(run: Path, seed: int, chance: random.Random) -> None:
    files = sorted(path for path in newest(run).iterdir() if path.stat().st_size)
    assert len(files) == 4
    for _ in range(FLIPS):
        path = chance.choice(files)
        bit = chance.randrange(path.stat().st_size * 8)
        with changed(path, flip(bit)):
            expect_skipped(run, path, f"bit {bit} of {path.name}, seed {seed}")


def test_every_other_length_of_a_checkpoints_files_is_found(run: Path, seed: int, chance: random.Random) -> None:
    files = sorted(path for path in newest(run).iterdir() if path.stat().st_size)
    for _ in range(LENGTHS):
        path = chance.choice(files)
        with changed(path, lambda data: resize(data, chance)):
            expect_skipped(run, path, f"{path.stat().st_size} bytes of {path.name}, seed {seed}")


def refused(path: Path) -> bool:
    try:
        modelfile.read(path)
    except CheckpointError:
        return True
    return False


def test_every_flipped_bit_of_a_model_file_is_found(run: Path, seed: int, chance: random.Random) -> None:
    path = run / "best.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for number in range(FLIPS):
        first, end = (0, header) if number % 2 else (header, len(whole))
        bit = chance.randrange(first * 8, end * 8)
        with changed(path, flip(bit)):
            assert refused(path), f"bit {bit} of the model file, seed {seed}"
    assert modelfile.read(path).blob == whole


def test_every_other_length_of_a_model_file_is_found(run: Path, seed: int, chance: random.Random) -> None:
    path = run / "best.safetensors"
    for _ in range(LENGTHS):
        with changed(path, lambda data: resize(data, chance)):
            assert refused(path), f"{path.stat().st_size} bytes, seed {seed}"


def damage(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    flip(chance.randrange(len(data) * 8))(data)
    path.write_bytes(data)


def test_a_resume_names_the_damaged_checkpoint_and_takes_the_one_before(
    run: Path,
    chance: random.Random,
    command: Callable[..., list[str]],
    complete: Callable[..., Any],
    outcome: Callable[[Path], Any],
) -> None:
    expected = outcome(run)
    os.remove(run / "summary.json")  # as if it had been killed at the very end
    damage(newest(run) / "model.safetensors", chance)
    words = command(run, OPTIONS)
    words.remove("-q")
    done = complete(words)
    named = [line for line in done.stderr.splitlines() if newest(run).name in line and "left aside" in line]
    assert named, done.stderr
    assert "model.safetensors does not match its hash" in named[0]
    assert "resumed at step" in done.stderr
    assert outcome(run) == expected


def test_a_run_without_an_intact_checkpoint_does_not_begin_anew(
    run: Path, chance: random.Random, command: Callable[..., list[str]], complete: Callable[..., Any]
) -> None:
    os.remove(run / "summary.json")
    saved = sorted((run / "checkpoints").glob("step-*"))
    for path in saved:
        damage(path / "state.safetensors", chance)
    done = complete(command(run, OPTIONS), code=4)
    assert all(f"{path.name}: state.safetensors" in done.stderr for path in saved), done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert sorted((run / "checkpoints").glob("step-*")) == saved
    assert not (run / "summary.json").exists()


@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_a_damaged_model_file_is_not_applied(
    name: str,
    run: Path,
    small_set: Path,
    chance: random.Random,
    command: Callable[..., list[str]],
    complete: Callable[..., Any],
) -> None:
    damage(run / "best.safetensors", chance)
    python = command(run, "")[:3]
    pictures = [str(next(small_set.rglob("*.png")))] if name == "predict" else []
    done = complete([*python, name, str(run / "best.safetensors"), *pictures], code=4)
    assert "best.safetensors" in done.stderr
    assert done.stdout == ""
