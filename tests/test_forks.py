"""A command in a fork does what it does in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no forks there")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["train", "nowhere"], 3),
        (["train", "--los", "focal"], 2),
        (["train", "shapes", "--epochs", "1", "--model", "mlp", "--threads", "1", "--dry-run"], 0),
        (["train", "shapes", "--epochs", "0"], 2),
    ],
)
def test_both_say_the_same(run_command: Any, pictures: Path, words: list[str], code: int) -> None:
    env = dict(os.environ) | {"COLUMNS": "77"}
    command = [sys.executable, "-m", "clsfit", *words]
    done = subprocess.run(command, cwd=pictures.parent, env=env, capture_output=True, stdin=subprocess.DEVNULL)
    assert run_command(words, pictures.parent, env) == (code, done.stdout, done.stderr)
    assert done.returncode == code


def test_a_command_that_is_killed_by_a_signal_has_its_number(run_command: Any, pictures: Path, tmp_path: Path) -> None:
    words = ["train", pictures, "--epochs", "1", "--model", "mlp", "-o", "run"]
    env = dict(os.environ) | {"CLSFIT_FAILPOINT": "checkpoint:rename:kill"}
    assert run_command(words, tmp_path, env)[0] == -9


def test_a_command_that_hangs_is_ended_and_answers_for_no_other(run_in: Any, pictures: Path, tmp_path: Path) -> None:
    run_command = run_in(os.environ)  # of this environment, so that it forks, whatever an earlier test left there
    with pytest.raises(TimeoutError):
        run_command(["train", pictures, "--epochs", "100000", "-q"], tmp_path, os.environ, timeout=3)
    assert run_command(["--version"], pictures.parent, os.environ)[0] == 0


def test_it_is_another_interpreter_where_the_environment_asks_for_one(
    run_command: Any, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(77)")
    env = dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    assert run_command(["--help"], pictures.parent, env)[0] == 77


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_leaves_in_the_environment_is_taken_back(turn: int) -> None:
    assert "LEFT_BEHIND" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "1"
    os.environ["LEFT_BEHIND"] = os.environ["OMP_NUM_THREADS"] = str(turn + 1)


def test_it_ends_as_an_interpreter_does() -> None:
    code = """
import atexit, sys, threading, time
sys.path[:0] = sys.argv[1:]
import forks
atexit.register(lambda: print("handlers"))
threading.Thread(target=lambda: (time.sleep(0.2), print("threads"))).start()
forks.become({"words": ["--version"], "cwd": ".", "env": {}}, [])
"""
    places = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, ["threads", "handlers"])
