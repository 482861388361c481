"""What a data set of very many pictures costs before the first step: seconds and memory of each part.

    python tests/benchmarks/rows.py FOLDER [--rows 1300000] [--only TEXT] [--rounds N]
    python tests/benchmarks/rows.py --data DATA [--only TEXT] [--rounds N]

FOLDER, which may be missing, takes ROWS tiny PNGs in 1,000 class folders, each another picture, and ``pictures.csv``,
which names them all; they are made once. DATA is a data set that is there. Each step is a process of its own: seconds
of the step, without starting Python, and of a command as a whole, and how much of them processors worked for it; the
peak is of the whole process. "Again" finds what the step before it kept in the cache directory, which is new in each
round. Of several rounds there are medians. It needs a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
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
    """Soft pictures of 8x8, all different, and a table of them with a group for each three of a class."""
    rng = np.random.default_rng(0)
    places = np.linspace(0, 2, 8)
    soft = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(3)))  # between three points
    each = -(-rows // CLASSES)
    with open(folder / "pictures.csv.part", "w") as table:
        table.write("path,label,group\n")
        for number in range(CLASSES):
            name = f"n{number:08d}"
            (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (each, 3, 3, 3))
            pixels = np.einsum("yi,nijc,xj->nyxc", soft, coarse, soft).astype(np.uint8)
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


def opened(data: str) -> Callable[[], Any]:
    from clsfit.data.intake import open_path

    return lambda: open_path(data)


def headers(data: str) -> Callable[[], object]:
    from clsfit.data import headers
    from clsfit.data.threads import workers_of

    source = opened(data)()
    rows = source.table()
    return lambda: headers.look(source, rows, workers_of(None), cache="auto", skip_bad=False)


def split(data: str) -> Callable[[], object]:
    from clsfit.data.split import hold_out

    rows = replace(opened(data)().table(), groups=())
    return lambda: hold_out(rows, 0.2, 0)


def grouped(data: str) -> Callable[[], object]:
    from clsfit.data.split import hold_out

    rows = opened(data)().table()
    return lambda: hold_out(rows, 0.2, 0)


STEPS = {step.__name__: step for step in (opened, headers, split, grouped)}


def programs(data: Path, work: Path, folder: Path | None) -> dict[str, measure.Program]:
    """The steps and commands, by the name that the table has, in order: a later one finds what an earlier one kept."""
    small = ("--model", "mlp", "--input-size", "8", "--cache", "disk", "-q", "--dry-run")

    def step(name: str, of: Path = data) -> tuple[str, ...]:
        return (sys.executable, __file__, "--data", str(of), "--step", name)

    def command(*words: object) -> tuple[str, ...]:
        return (sys.executable, "-m", "clsfit", *map(str, words))

    commands = {"opened": step("opened")}
    if folder is not None:
        commands["the same as a folder"] = step("opened", folder)
    commands |= {"headers": step("headers"), "headers, again": step("headers"), "split": step("split")}
    if folder is not None:
        commands["split by groups"] = step("grouped")
        commands["clsfit data split"] = command("data", "split", data, "-o", work / "split.csv", "--overwrite")
    commands["clsfit data check"] = commands["clsfit data check, again"] = command("data", "check", data)
    if folder is not None:
        commands["train --dry-run"] = commands["train --dry-run, again"] = command("train", data, *small)
    environment = {"CLSFIT_CACHE": str(work / "cache")}
    return {name: measure.Program(name, words, environment=environment) for name, words in commands.items()}


def one_round(wanted: str, data: Path, folder: Path | None) -> dict[str, list[float]]:
    """Seconds, seconds of work, MiB and other programs' cores of each program with ``wanted`` in its name."""
    found = {}
    with tempfile.TemporaryDirectory() as work:
        for name, program in programs(data, Path(work), folder).items():
            if wanted in name:
                told = measure.run(program)
                took, cpu = told.get("took", told["seconds"]), told.get("work", told["cpu"])
                found[name] = [took, cpu, told["peak"], told.get("others", 0.0)]
                print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what very many pictures cost.")
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    parser.add_argument("--data", type=Path, metavar="DATA", help="a data set that is there, instead")
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", metavar="TEXT", default="", help="only what has TEXT in its name")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if (chosen.folder is None) == (chosen.data is None):
        parser.error("name FOLDER or --data DATA")
    if chosen.step:
        step = STEPS[chosen.step](str(chosen.data))
        began, worked = time.perf_counter(), time.process_time()
        step()
        print(json.dumps({"took": time.perf_counter() - began, "work": time.process_time() - worked}))
        return
    data, folder = chosen.data, None
    if data is None:
        data, folder = chosen.folder.absolute() / "pictures.csv", chosen.folder.absolute() / "pictures"
        if not data.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder.parent, chosen.rows)
    rounds = [one_round(chosen.only, data, folder) for _ in range(chosen.rounds)]
    print("| | s | of processors | peak, MiB | other programs, cores |\n| --- | --- | --- | --- | --- |")
    for name in rounds[0]:
        took, cpu, peak, others = (
            statistics.median(values) for values in zip(*(one[name] for one in rounds), strict=True)
        )
        print(f"| {name} | {took:.1f} | {cpu:.1f} | {peak:,.0f} | {others:.1f} |")


if __name__ == "__main__":
    main()
