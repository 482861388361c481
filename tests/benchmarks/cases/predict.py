"""Prediction over a folder of 32x32 JPEGs with a ResNet-18, whole process, model file to table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from measure import Figure, Group, run
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    folder, place = setting.small / "test", setting.work / "model"
    model = ("--model", "resnet18", "--input-size", "32", "--channels", "3", "--epochs", "1", "--callback", "none")
    run(setting.train("the model", place, folder, *model, "--batch-size", "128"))
    weights, tables = place / "last.safetensors", [setting.work / f"{name}.csv" for name in ("hand", "ours", "large")]
    words = ("predict", weights, folder, "--device", setting.device, "-o")
    programs = [
        setting.peer("hand-written", "predict_hand.py", weights, folder, tables[0], setting.device),
        setting.command("clsfit predict", *words, tables[1]),
        setting.command("clsfit predict, 256 at a time", *words, tables[2], "--batch-size", "256"),
    ]
    classes = sorted(path.name for path in folder.iterdir())
    programs = [
        replace(program, found=partial(_of_table, table, classes))
        for program, table in zip(programs, tables, strict=True)
    ]
    if setting.size == "tiny":
        programs = programs[:2]
    figures = [Figure("seconds", "whole process, s", {"clsfit predict": 0.85}), Figure("peak", "peak resident, MiB")]
    return [Group("10,000 pictures", programs, figures, warm=True)]


def _of_table(table: Path, classes: list[str]) -> dict[str, Any]:
    """How many pictures were predicted, and how many of them rightly."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(Path(row["path"]).parent.name in (row["predicted"], _named(row["predicted"], classes)) for row in rows)
    return {"pictures": len(rows), "accuracy": right / len(rows)}


def _named(predicted: str, classes: list[str]) -> str:
    """The class whose number was written, if it was one."""
    return classes[int(predicted)] if predicted.isdigit() else ""
