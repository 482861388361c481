"""What was measured, as tables and as JSON, with what a reader needs to judge it."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from measure import interval, ratios

PACKAGES = ("clsfit", "torch", "torchvision", "numpy", "pillow", "typer", "pluggy", "timm", "lightning", "ultralytics")


def facts(device: str) -> dict[str, Any]:
    """The machine, the versions and the day."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"system": platform.system(), "cores": cores, "cpu": _processor(), "device": _device(device)}
    return {"machine": machine, "versions": versions, "date": date.today().isoformat()}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _device(device: str) -> str:
    """With a GPU's name, which a process of its own asks for: a context of this one would take memory all the while."""
    if device == "cpu":
        return device
    ask = f"import torch; print(torch.cuda.get_device_name({device!r}))"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    if told.returncode:
        sys.exit(f"no device {device}: {told.stderr.splitlines()[-1]}")
    return f"{device}, {told.stdout.strip()}"


def table(measured: Mapping[str, Any]) -> str:
    """All that ``measured`` holds, in Markdown."""
    machine, versions = measured["machine"], ", ".join(f"{k} {v}" for k, v in measured["versions"].items())
    parts = [f"{machine['cores']} cores, {machine['cpu']}, {machine['system']}, device {machine['device']}"]
    parts += [f"{versions}; {measured['date']}; size {measured['size']}"]
    for case, groups in measured["cases"].items():
        for group in groups.values():
            parts.append("\n".join(_group(case, group)))
    return "\n\n".join(parts)


def _group(case: str, group: Mapping[str, Any]) -> Iterable[str]:
    rounds, baseline = group["rounds"], group["programs"][0]
    yield f"### {case}: {group['name']}"
    yield ""
    others = [outcome["others"] for outcomes in rounds for outcome in outcomes.values() if "others" in outcome]
    busy = f"; other programs kept {statistics.median(others):.1f} cores busy meanwhile" if others else ""
    yield f"{len(rounds)} rounds{busy}"
    yield ""
    yield "| program | figure | median | ratio [95 %] | goal | accuracy |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for figure in group["figures"]:
        key = figure["key"]
        for name in [*group["programs"], "again"]:
            values = [outcomes[name][key] for outcomes in rounds if key in outcomes.get(name, {})]
            found = ratios(rounds, baseline, name, key)
            if not values or not found:
                continue
            shown = "1" if name == baseline else "{:.3f} [{:.3f}-{:.3f}]".format(*interval(found))
            row = [name, figure["title"], _number(statistics.median(values)), shown]
            yield f"| {' | '.join([*row, _goal(figure, name, found), _accuracy(rounds, name)])} |"
    for name, reason in group["left_out"].items():
        yield f"| {name} | left out: {reason.splitlines()[-1]} | | | | |"


def _goal(figure: Mapping[str, Any], name: str, found: list[float]) -> str:
    limit = figure["goals"].get(name)
    if limit is None:
        return ""
    ratio = statistics.median(found)
    reached = ratio >= limit if figure["more"] else ratio <= limit
    return f"{'at least' if figure['more'] else 'at most'} {limit:g}: {'reached' if reached else '**missed**'}"


def _accuracy(rounds: list[Mapping[str, Any]], name: str) -> str:
    values = [outcomes[name]["accuracy"] for outcomes in rounds if "accuracy" in outcomes.get(name, {})]
    return f"{statistics.median(values):.3f}" if values else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def progress(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)
