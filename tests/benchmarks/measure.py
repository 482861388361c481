"""Programs measured side by side: whole processes, in rounds A B C ... A, compared by the ratios within a round.

A machine that is shared, or grows warm, moves all figures of a minute together. So what is compared are the
figures of one round, with the baseline at both of its ends, and what is reported is the median of the rounds'
ratios, with a 95 % interval by bootstrap over rounds.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_RESAMPLES = 2000


@dataclass(frozen=True)
class Program:
    """One way to do a case's work.

    Attributes:
        name: for the table.
        command: what is started.
        needs: packages without which it is left out; only a peer has some.
        environment: beside the harness' own.
        exit_code: what the program ends with if all is well.
        found: what can be read from its files afterwards, beside what it reports.
        fresh: a folder that is removed before each run: what an earlier one has left there would help.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0
    found: Callable[[], dict[str, Any]] = dict
    fresh: Path | None = None


@dataclass(frozen=True)
class Figure:
    """A number that each run of a program gives.

    Attributes:
        key: ``seconds``, ``cpu`` (s) or ``peak`` (MiB) of the whole process, or a key of what the program reports.
        title: for the table, with its unit.
        goals: the limit of the ratio to the baseline, by program; a floor where ``more`` is better.
        more: whether a larger number is better.
    """

    key: str
    title: str
    goals: Mapping[str, float] = field(default_factory=dict)
    more: bool = False


@dataclass(frozen=True)
class Group:
    """Programs that do the same work. The first is the baseline.

    Attributes:
        same: whether all report the same number of pictures; a test relies on it.
        warm: whether a round that does not count goes before.
    """

    name: str
    programs: Sequence[Program]
    figures: Sequence[Figure]
    same: bool = True
    warm: bool = False


class Failed(Exception):
    """A program did not end as it should."""


def run(program: Program) -> dict[str, Any]:
    """What one run of ``program`` reports, with ``seconds``, ``cpu``, ``peak`` and ``others`` of the whole process.

    ``cpu`` is the seconds that cores worked for it and the processes that it waited for, ``peak`` its resident
    memory in MiB, ``others`` how many cores other programs kept busy meanwhile, where the system tells it.

    A program reports by a JSON object in the last line of its standard output; one that has nothing to say but
    how long it takes prints what it likes.

    Raises:
        Failed: it ended with another exit code.
    """
    if program.fresh is not None:
        shutil.rmtree(program.fresh, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        before, began = busy(), time.perf_counter()
        process = subprocess.Popen(
            program.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment | program.environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds, spent = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode != program.exit_code:
            last = "\n".join(err.read().decode(errors="replace").splitlines()[-12:])
            raise Failed(f"{program.name}: exit {process.returncode}\n{last}")
        lines = out.read().decode(errors="replace").splitlines()
    reported = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    others = {} if before is None else {"others": max(0.0, (busy() - before - spent) / seconds)}
    return reported | program.found() | {"seconds": seconds, "cpu": spent, "peak": usage.ru_maxrss / 1024} | others


def busy() -> float | None:
    """Seconds that all cores together have worked since the system's start; None where it does not tell."""
    told = Path("/proc/stat")
    if not told.is_file():
        return None
    user, nice, system, _, _, interrupts, soft, *_ = map(int, told.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def left_out(programs: Iterable[Program]) -> dict[str, str]:
    """Programs that cannot run here, and why."""
    missing = {program.name: [name for name in program.needs if find_spec(name) is None] for program in programs}
    return {name: f"{', '.join(lacking)} not installed" for name, lacking in missing.items() if lacking}


def one_round(programs: Sequence[Program], absent: dict[str, str], closing: bool = True) -> dict[str, Any]:
    """Outcomes by program, in order; the baseline's second run is called ``again``.

    Args:
        programs: the baseline first.
        absent: programs that are left out. A peer that fails joins them; hand-written ones and clsfit may not.
            Without the baseline there is nothing to compare with, and nothing more is run.
        closing: whether the baseline is run again at the end.

    Raises:
        Failed: a program that is no peer failed.
    """
    outcomes: dict[str, Any] = {}
    for program in programs:
        if programs[0].name in absent:
            return outcomes
        if program.name in absent:
            continue
        try:
            outcomes[program.name] = run(program)
        except Failed as error:
            if not program.needs:
                raise
            absent[program.name] = str(error)
    if closing:
        outcomes["again"] = run(programs[0])
    return outcomes


def ratios(rounds: Sequence[Mapping[str, Any]], baseline: str, name: str, key: str) -> list[float]:
    """The figure ``key`` of program ``name`` over the baseline's, for each round that has both.

    The baseline's is the geometric mean of its runs at the ends of the round. ``again`` is compared with the
    first of them alone: it shows how far the same program is from itself. A slope of a very short run may be
    lost in the noise; where it is not above zero, there is no ratio.
    """
    found = []
    for round_ in rounds:
        outcomes = {program: outcome for program, outcome in round_.items() if outcome.get(key, 0) > 0}
        sides = (baseline,) if name == "again" else (baseline, "again")
        ends = [outcomes[end][key] for end in sides if end in outcomes]
        if ends and name in outcomes:
            found.append(outcomes[name][key] / math.prod(ends) ** (1 / len(ends)))
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval by bootstrap."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = _RESAMPLES // 40
    return statistics.median(values), medians[cut], medians[-cut - 1]


def described(group: Group) -> dict[str, Any]:
    """A group as JSON values, without commands, which name places of this machine."""
    return {
        "name": group.name,
        "programs": [program.name for program in group.programs],
        "figures": [asdict(figure) for figure in group.figures],
        "same": group.same,
    }
