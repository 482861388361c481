"""Signals that wait: for the end of a block, and so for the end of torch's import."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsfit.cli import main
from clsfit.interrupts import JOB_SIGNALS, held

Names = list[str]

STARTED = "import sys; from clsfit.cli import main; print('ready', flush=True); sys.exit(main(sys.argv[1:]))"

AT_AN_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from clsfit.cli import main
code = main(sys.argv[2:])
print("whole" if hasattr(sys.modules.get("torch"), "compile") else "in pieces")
sys.exit(code)
"""


@pytest.fixture
def came() -> Iterator[Names]:
    """The names of the signals that handlers have been told of."""
    names: Names = []
    before = {
        number: signal.signal(number, lambda number, _: names.append(signal.Signals(number).name))
        for number in JOB_SIGNALS
    }
    yield names
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_come_after_the_block(came: Names) -> None:
    handlers = [signal.getsignal(number) for number in JOB_SIGNALS]
    with held():
        for number in JOB_SIGNALS:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        assert came == []
    deadline = time.monotonic() + 60  # another thread may have taken one: it is late, or not one with its second
    while len(set(came)) < len(JOB_SIGNALS) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(set(came)) == ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1"]
    assert [signal.getsignal(number) for number in JOB_SIGNALS] == handlers
    assert not set(JOB_SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_signal_that_another_thread_takes_waits_too(came: Names) -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()  # before the block, so nothing is blocked in it
    with held():
        signal.pthread_kill(other.ident or 0, signal.SIGTERM)
        end.set()
        other.join()  # it has taken the signal by then, and this thread has run Python's instructions since
        within = list(came)
    assert (within, came) == ([], ["SIGTERM"])


def test_ctrl_c_is_raised_after_the_block_and_nested_blocks_are_one() -> None:
    reached: Names = []

    def work() -> None:
        with held():
            with held():
                os.kill(os.getpid(), signal.SIGINT)
                reached.append("inner")
            reached.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_what_is_ignored_stays_so(came: Names) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with held():
        os.kill(os.getpid(), signal.SIGHUP)
    assert (came, signal.getsignal(signal.SIGHUP)) == ([], signal.SIG_IGN)


@pytest.mark.parametrize("in_main", [True, False])
def test_a_process_that_is_started_in_it_starts_with_them_blocked(in_main: bool) -> None:
    code = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    told: Names = []

    def start() -> None:
        with held():
            told.append(subprocess.check_output([sys.executable, "-c", code], text=True))
        told.append(str(set(JOB_SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    thread = threading.Thread(target=start)
    if in_main:
        start()
    else:
        thread.start()
        thread.join()
    assert set(map(int, told[0].split())) >= set(JOB_SIGNALS)
    assert told[1] == "set()"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    subprocess.run(
        [sys.executable, "-m", "clsfit", "train", "--epochs", "1", "-o", run], check=True, capture_output=True
    )
    return run


@pytest.mark.parametrize("module", ["torch", "torch._C"])
@pytest.mark.parametrize(
    "command", ["train", *(pytest.param(name, marks=pytest.mark.faults) for name in ("evaluate", "predict", "import"))]
)
def test_ctrl_c_waits_for_torch(trained: Path, tmp_path: Path, module: str, command: str) -> None:
    more = {
        "train": ["digits", "-o", tmp_path / "run"],
        "evaluate": [trained],
        "predict": [trained, tmp_path],
        "import": [trained / "last.safetensors", tmp_path / "weights.safetensors"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", AT_AN_IMPORT, module, command, *map(str, more)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "whole\n", "clsfit: interrupted\n")


def test_ctrl_c_while_options_are_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.echo", interrupted)  # of an option's callback, which typer calls
    assert main(["--version"]) == 130
    assert capsys.readouterr().err == "clsfit: interrupted\n"


def _instants() -> Iterator[Any]:
    chance = random.Random(20261121)
    for i in range(10):
        for command in ("train", "predict"):
            mark: Any = pytest.mark.faults if i else ()
            yield pytest.param(command, round(chance.uniform(0, 2.5), 3), marks=mark)


@pytest.mark.parametrize(("command", "instant"), list(_instants()))
def test_ctrl_c_in_the_first_seconds(trained: Path, tmp_path: Path, command: str, instant: float) -> None:
    more = {"train": ["digits", "--epochs", 10_000, "-o", "run"], "predict": [trained, "-"]}[command]
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, command, *map(str, more)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,  # from which predict waits for paths
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    time.sleep(instant)
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=60)
    finally:
        process.kill()
        _, told = process.communicate()
    assert process.returncode == 130, told
    assert "interrupted\n" in told
    assert "Traceback" not in told
