"""``python fuzzing KIND:COUNT,... SEED WHOLE FOLDER``: runs damaged inputs through the command line, in one process.

Prints one JSON object: what went wrong, how often each exit code came, how much memory was needed, and the seconds that
the slowest input of each kind took.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import kinds
import pictures

DOCUMENTED = {0, 2, 3, 4, 5, 6, 8, 9}
SECONDS = 20  # for one input
ROOM = 3 << 30  # bytes of addresses beyond what torch has taken
ROOM_FOR_PICTURES = 1 << 30


class HangError(BaseException):
    """A command took too long; no ``except Exception`` may catch it."""


def _ring(*_: Any) -> None:
    raise HangError


class _Stream(io.TextIOWrapper):
    """A text stream over bytes in memory, as a process's own."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)

    def text(self) -> str:
        self.flush()
        held = self.buffer
        assert isinstance(held, io.BytesIO)
        return held.getvalue().decode("utf-8", "surrogateescape")


def run(arguments: list[str]) -> tuple[int | str, str]:
    """Exit code, or what came instead of one, and stderr."""
    from clsfit.cli import main

    out, err = _Stream(), _Stream()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: int | str = int(main(arguments))
    except HangError:
        code = f"no end after {SECONDS} s"
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return code, err.text()


def complaint(code: int | str, text: str) -> str:
    """What is wrong with how a command ended; empty if nothing is."""
    if code not in DOCUMENTED:
        return f"exit {code}"
    if "Traceback" in text:
        return "a traceback"
    if "out of memory" in text:
        return "memory ran out"
    if code in {0, 9} or "clsfit: error: " not in text:
        return "" if code == 0 else f"exit {code} without a message" if not text.strip() else ""
    message = text[text.index("clsfit: error: ") :]
    if message.count("\n") > 3:
        return "more than three lines"
    if any(c != "\n" and not c.isprintable() for c in message):
        return "a raw control character in the message"
    if len(message) > 20_000:
        return "a message of more than 20,000 characters"
    return ""


def limit(room: int) -> None:
    """Bounds addresses to what is in use and ``room`` bytes more, and seconds of computing."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + room if pages else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))


def attempt(kind: str, whole: Path, here: Path, rng: random.Random) -> tuple[int | str, str, dict[str, Any]]:
    """How one damaged input ended, what is wrong with that, and what else is worth saying."""
    if kind == "picture":
        code, wrong = pictures.attempt(here, rng)
        return code, wrong, {}
    arguments = kinds.KINDS[kind](whole, here, rng)
    code, text = run(arguments)
    return code, complaint(code, text), {"arguments": arguments, "stderr": text[-1500:]}


def main(counts: dict[str, int], seed: int, whole: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, _ring)
    os.chdir(folder)
    if set(counts) != {"picture"}:  # torch is imported before memory is limited
        run(["predict", str(whole / "run"), str(whole / "data" / "bars" / "000.png")])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit(ROOM_FOR_PICTURES if set(counts) == {"picture"} else ROOM)
    failed: list[dict[str, Any]] = []
    codes: dict[str, dict[str, int]] = {kind: {} for kind in counts}
    slowest = dict.fromkeys(counts, 0.0)
    for kind, number in ((kind, number) for kind, count in counts.items() for number in range(count)):
        rng = random.Random(f"{kind} {seed} {number}")
        here = folder / f"{kind}-{seed}-{number}"
        here.mkdir()
        began = time.perf_counter()
        code, wrong, more = attempt(kind, whole, here, rng)
        slowest[kind] = max(slowest[kind], time.perf_counter() - began)
        codes[kind][str(code)] = codes[kind].get(str(code), 0) + 1
        if wrong:
            failed.append({"wrong": wrong, "kind": kind, "number": number, "files": str(here)} | more)
        else:
            shutil.rmtree(here)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kilobytes on Linux
    return {"failed": failed, "codes": codes, "grown": grown, "slowest": slowest}


if __name__ == "__main__":
    _, asked, seed, whole, folder = sys.argv
    counts = {kind: int(count) for kind, _, count in (part.partition(":") for part in asked.split(","))}
    print(json.dumps(main(counts, int(seed), Path(whole).resolve(), Path(folder).resolve())))
