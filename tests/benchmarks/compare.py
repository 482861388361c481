"""clsfit beside a hand-written loop and other tools, on the same files: see README.md.

    python tests/benchmarks/compare.py [CASE ...] [--size tiny|small|full] [--rounds N] [--data FOLDER] [--json FILE]

Prints Markdown tables. It needs a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import measure
import report
from cases import CASES
from setting import SIZES, Setting


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures clsfit beside other programs, on the same files.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all if none is named")
    parser.add_argument("--size", choices=SIZES, default="small", help="tiny draws its own pictures")
    parser.add_argument("--rounds", type=int, default=3, help="0 only prints what FILE holds")
    parser.add_argument("--data", type=Path, help="a folder with cifar10/ and photos/, as README.md says")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what is measured; if it exists, rounds are added")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", metavar="TEXT", default="", help="only groups with TEXT in their name")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.cases if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if chosen.size != "tiny" and chosen.data is None and chosen.rounds:
        parser.error("--data is missing: only --size tiny draws its own pictures")
    return chosen


def known(chosen: argparse.Namespace) -> dict[str, Any]:
    """What FILE holds, if it was measured here in the same way; else nothing yet."""
    now = {"size": chosen.size, **report.facts(chosen.device), "cases": {}}
    if chosen.json is None or not chosen.json.exists():
        return now
    held: dict[str, Any] = json.loads(chosen.json.read_text())
    if chosen.rounds and (changed := [key for key in ("size", "machine", "versions") if held[key] != now[key]]):
        sys.exit(f"{chosen.json} was measured with another {', '.join(changed)}: give another file")
    return held


def measure_all(chosen: argparse.Namespace, measured: dict[str, Any], work: Path) -> None:
    """Adds rounds to ``measured``, which is written after each."""
    setting = Setting(chosen.size, chosen.data, work, chosen.device)
    for case in chosen.cases or CASES:
        for group in CASES[case](setting):
            if chosen.only not in group.name:
                continue
            fresh = {**measure.described(group), "left_out": {}, "rounds": []}
            entry = measured["cases"].setdefault(case, {}).setdefault(group.name, fresh)
            entry["left_out"] = measure.left_out(group.programs)
            if group.warm and chosen.size != "tiny":
                measure.one_round(group.programs, entry["left_out"], closing=False)
            for turn in range(chosen.rounds):
                outcomes = measure.one_round(group.programs, entry["left_out"], closing=chosen.size != "tiny")
                if group.programs[0].name in entry["left_out"]:
                    break
                entry["rounds"].append(outcomes)
                report.progress(f"{case}: {group.name}: round {turn + 1} of {chosen.rounds}")
                if chosen.json is not None:
                    chosen.json.write_text(json.dumps(measured, indent=1))


def main() -> None:
    chosen = options()
    measured = known(chosen)
    if chosen.rounds:
        with tempfile.TemporaryDirectory() as work:
            measure_all(chosen, measured, Path(work))
    print(report.table(measured))


if __name__ == "__main__":
    main()
