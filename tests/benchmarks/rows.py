"""What a data set of very many pictures costs before the first is decoded: seconds and memory of each step.

    python tests/benchmarks/rows.py FOLDER [--rows 1300000] [--only TEXT] [--json FILE]

FOLDER, which may be missing, takes ROWS tiny PNGs in 1,000 class folders, each another picture, and ``pictures.csv``,
which names them all; they are made once. Each step is a process of its own: seconds of the step, without starting
Python, and of a command as a whole; the peak is of the whole process. It needs a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure
import numpy as np

CLASSES = 1000
OBJECT = 3  # pictures of one


def make(folder: Path, rows: int) -> None:
    """Pictures of 8x8, different ones, and a table of all with a group for each three of a class."""
    rng = np.random.default_rng(0)
    each = -(-rows // CLASSES)
    with open(folder / "pictures.csv.part", "w") as table:
        table.write("path,label,group\n")
        for number in range(CLASSES):
            name = f"n{number:08d}"
            (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (each, 8, 8, 3), dtype=np.uint8)
            for place in range(min(each, rows - number * each)):
                path = f"pictures/{name}/{name}_{place:05d}.png"
                (folder / path).write_bytes(_png(pixels[place]))
                table.write(f"{path},{name},{name}-{place // OBJECT}\n")
    os.replace(folder / "pictures.csv.part", folder / "pictures.csv")


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A small PNG; Pillow would take the most of the time."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 1)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(data)) + kind + data + _crc(kind + data) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def table(folder: Path) -> Callable[[], object]:
    from clsfit.data.intake import open_path

    return lambda: open_path(str(folder / "pictures.csv"))


def tree(folder: Path) -> Callable[[], object]:
    from clsfit.data.intake import open_path

    return lambda: open_path(str(folder / "pictures"))


def headers(folder: Path) -> Callable[[], object]:
    from clsfit.data import headers
    from clsfit.data.threads import workers_of

    source = table(folder)()
    rows = source.table()
    return lambda: headers.look(source, rows, workers_of(None), cache="auto", skip_bad=False)


def split(folder: Path) -> Callable[[], object]:
    from clsfit.data.split import hold_out

    rows = replace(table(folder)().table(), groups=())
    return lambda: hold_out(rows, 0.2, 0)


def grouped(folder: Path) -> Callable[[], object]:
    from clsfit.data.split import hold_out

    rows = table(folder)().table()
    return lambda: hold_out(rows, 0.2, 0)


STEPS = {step.__name__: step for step in (table, tree, headers, split, grouped)}


def programs(folder: Path, work: Path) -> dict[str, measure.Program]:
    """The steps and commands, by the name that the table has, in order: a later one finds what an earlier one kept."""
    data, small = folder / "pictures.csv", ("--model", "mlp", "--input-size", "8", "-q")
    environment = {"CLSFIT_CACHE": str(work / "cache")}

    def step(name: str) -> tuple[str, ...]:
        return (sys.executable, __file__, str(folder), "--step", name)

    def command(*words: object) -> tuple[str, ...]:
        return (sys.executable, "-m", "clsfit", *map(str, words))

    commands = {
        "the table is read": step("table"),
        "the same as a folder": step("tree"),
        "headers": step("headers"),
        "headers, again": step("headers"),
        "split": step("split"),
        "split by groups": step("grouped"),
        "clsfit data split": command("data", "split", data, "-o", work / "split.csv", "--overwrite"),
        "clsfit data check": command("data", "check", data),
        "clsfit data check, again": command("data", "check", data),
        "clsfit train --dry-run": command("train", data, *small, "--dry-run"),
        "clsfit train --dry-run, again": command("train", data, *small, "--dry-run"),
    }
    return {name: measure.Program(name, words, environment=environment) for name, words in commands.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what very many pictures cost.")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--only", metavar="TEXT", default="", help="only what has TEXT in its name")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="as an earlier run left it; a new one by default")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    folder: Path = chosen.folder.absolute()
    if chosen.step:
        step = STEPS[chosen.step](folder)
        began = time.perf_counter()
        step()
        print(json.dumps({"took": time.perf_counter() - began}))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "pictures.csv").exists():
        make(folder, chosen.rows)
    subprocess.run(["sync"], check=False)
    with tempfile.TemporaryDirectory() as work:
        print("| | s | peak, MiB | other programs, cores |\n| --- | --- | --- | --- |", flush=True)
        for name, program in programs(folder, chosen.cache or Path(work)).items():
            if chosen.only in name:
                found = measure.run(program)
                took = found.get("took", found["seconds"])
                print(f"| {name} | {took:.1f} | {found['peak']:,.0f} | {found['others']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
