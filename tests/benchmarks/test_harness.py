"""The comparison harness at its tiny size, so that it cannot rot. Nothing here asserts a time."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
posix = pytest.mark.skipif(not hasattr(os, "wait4"), reason="the harness needs os.wait4")


CASES = ["start", "digits", "engine", "data", "resnet18", "photos", "cifar", "steps", "speed", "predict", "memory"]


def module(name: str) -> ModuleType:
    """A module of the harness, which is no package."""
    spec = importlib.util.spec_from_file_location(f"harness_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


def compare(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HERE / "compare.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@posix
@pytest.mark.benchmarks
@pytest.mark.parametrize("case", CASES)
def test_the_programs_of_a_case_do_the_same_work(case: str, tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    done = compare(case, "--size", "tiny", "--rounds", 1, "--json", file)
    assert done.returncode == 0, done.stderr
    groups: dict[str, Any] = json.loads(file.read_text())["cases"][case]
    assert next(iter(groups.values()))["rounds"], "the first group of a case needs no peer"
    for name, group in groups.items():
        assert f"### {case}: {name}" in done.stdout
        absent = group["left_out"]
        assert all(reason.endswith(" not installed") for reason in absent.values()), absent
        if group["programs"][0] in absent:
            assert not group["rounds"]
            continue
        (outcomes,) = group["rounds"]
        assert list(outcomes) == [program for program in group["programs"] if program not in absent]
        for figure in group["figures"]:
            assert all(isinstance(outcome[figure["key"]], float) for outcome in outcomes.values())
        if group["same"]:
            assert len({outcome["pictures"] for outcome in outcomes.values()}) == 1, outcomes
            reached = [outcome["accuracy"] for outcome in outcomes.values() if "accuracy" in outcome]
            assert not reached or max(reached) - min(reached) < 0.25, outcomes
        if case == "cifar":
            assert all(outcome["model_bytes"] > 0 for outcome in outcomes.values())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_goals_are_of_programs_of_their_group(device: str, tmp_path: Path) -> None:
    from clsfit.testing import draw_pictures

    for folder in ("cifar10/train", "cifar10/test", "photos"):
        draw_pictures(tmp_path / "data" / folder, {"bars": 5, "dots": 5}, 32, 0)
    for path in (tmp_path / "data").rglob("*.png"):
        path.rename(path.with_suffix(".jpg"))
    ask = (
        "import json, sys; from pathlib import Path; from cases import CASES; from setting import Setting\n"
        "from measure import described\n"
        "setting = Setting('full', Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])\n"
        "names = [name for name in CASES if name != 'predict']\n"  # which trains its model
        "print(json.dumps({name: [described(group) for group in CASES[name](setting)] for name in names}))"
    )
    command = [sys.executable, "-c", ask, str(tmp_path / "data"), str(tmp_path / "work"), device]
    told = subprocess.run(command, capture_output=True, text=True, cwd=HERE, timeout=60)
    assert told.returncode == 0, told.stderr
    cases: dict[str, list[dict[str, Any]]] = json.loads(told.stdout)
    for groups in cases.values():
        named = {program for group in groups for program in group["programs"]}
        assert {goal for group in groups for figure in group["figures"] for goal in figure["goals"]} <= named
    for name in ("photos", "cifar"):
        for group in cases[name]:
            goals = [goal for figure in group["figures"] for goal in figure["goals"]]
            assert set(goals) <= set(group["programs"][1:])
            assert not goals or device == "cuda"
            assert ("device_peak" in {figure["key"] for figure in group["figures"]}) == (device == "cuda")


@posix
@pytest.mark.benchmarks
def test_rounds_are_added_to_a_file_of_the_same_machine(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    words = ("start", "--size", "tiny", "--json", file)
    assert compare(*words, "--rounds", 1).returncode == 0
    assert compare(*words, "--rounds", 1).returncode == 0
    held = json.loads(file.read_text())
    assert len(held["cases"]["start"]["answers"]["rounds"]) == 2
    held["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(held))
    refused = compare(*words, "--rounds", 1)
    assert refused.returncode == 1
    assert "another versions" in refused.stderr
    assert "torch 1.0" in compare(*words, "--rounds", 0).stdout


def test_ratios_are_taken_within_rounds() -> None:
    measure = module("measure")
    rounds = [
        {"a": {"seconds": 1.0}, "b": {"seconds": 3.0}, "again": {"seconds": 4.0}},  # the machine slows down
        {"a": {"seconds": 10.0}, "b": {"seconds": 20.0}},
        {"a": {"seconds": 1.0}, "b": {}},
    ]
    assert measure.ratios(rounds, "a", "b", "seconds") == [1.5, 2.0]
    assert measure.ratios(rounds, "a", "again", "seconds") == [4.0]


def test_the_interval_holds_the_median_and_narrows_with_rounds() -> None:
    measure = module("measure")
    values = [0.8, 0.9, 1.0, 1.1, 1.2]
    median, low, high = measure.interval(values)
    assert median == statistics.median(values)
    assert min(values) <= low < median < high <= max(values)
    _, lower, higher = measure.interval(values * 20)
    assert higher - lower < high - low


@posix
def test_a_peer_that_fails_or_is_absent_is_named_and_the_rest_is_measured() -> None:
    measure = module("measure")
    speak = (sys.executable, "-c", "print('{\"pictures\": 3}')")
    fail = (sys.executable, "-c", "raise SystemExit('no such thing')")
    programs = [
        measure.Program("hand", speak),
        measure.Program("absent", speak, needs=("no_such_package",)),
        measure.Program("broken", fail, needs=("json",)),
    ]
    absent = measure.left_out(programs)
    assert absent == {"absent": "no_such_package not installed"}
    outcomes = measure.one_round(programs, absent)
    assert list(outcomes) == ["hand", "again"]
    assert outcomes["hand"]["pictures"] == 3
    assert outcomes["hand"]["seconds"] > 0
    assert outcomes["hand"]["peak"] > 1
    assert "no such thing" in absent["broken"]
    with pytest.raises(measure.Failed, match="no such thing"):
        measure.one_round([measure.Program("ours", fail)], {})


@posix
def test_without_the_baseline_nothing_is_run() -> None:
    measure = module("measure")
    fail = (sys.executable, "-c", "raise SystemExit('no such thing')")
    programs = [measure.Program("baseline", fail, needs=("json",)), measure.Program("ours", fail)]
    absent: dict[str, str] = {}
    assert measure.one_round(programs, absent) == {}
    assert measure.one_round(programs, absent) == {}
    assert list(absent) == ["baseline"]


@posix
def test_a_folder_of_earlier_runs_is_removed_before_each(tmp_path: Path) -> None:
    measure = module("measure")
    place = tmp_path / "cold"
    make = f"from pathlib import Path; Path({str(place)!r}).mkdir()"  # which fails where it exists
    program = measure.Program("ours", (sys.executable, "-c", make), fresh=place)
    for _ in range(2):
        assert measure.run(program)["cpu"] > 0
