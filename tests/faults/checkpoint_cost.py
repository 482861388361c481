"""What saving costs: the same training with and without checkpoints, in turn, in one process.

    python tests/faults/checkpoint_cost.py [ROUNDS]

Worst case: ``every_seconds`` is so small that only the rule of 50 times the duration of the last save holds
saves back, and the best and the last model are written at epochs' ends. Prints, for each model, the median
of the ratios of neighbouring runs (with / without) with their spread, and how many saves there were.
A run without the callback saves at its start and its end only.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import clsfit
from clsfit.engine import fit as loop
from clsfit.testing import draw_pictures

CASES: dict[str, dict[str, Any]] = {
    "mlp, 1 thread": {"model": {"name": "mlp", "hidden": [64]}, "epochs": 150, "threads": 1},
    "small_cnn, 1 thread": {"model": "small_cnn", "epochs": 12, "threads": 1},
    "small_cnn, 2 threads": {"model": "small_cnn", "epochs": 12, "threads": 2},
    "resnet18 at 32 px, 2 threads": {"model": "resnet18", "epochs": 3, "threads": 2, "input_size": 32, "channels": 3},
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    spent = [0.0]
    plain = loop.fit

    def timed(run: Any) -> None:
        started = time.perf_counter()
        plain(run)
        spent[0] = time.perf_counter() - started

    loop.fit = timed
    print(f"torch {torch.__version__}, {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        pictures = draw_pictures(Path(folder) / "pictures", {"a": 400, "b": 400, "c": 400}, size=16)
        for name, options in CASES.items():
            data = pictures if "resnet" in name else "digits"
            ratios, saves, seconds = [], [], []
            for number in range(rounds):
                times: dict[str, float] = {}
                for kind in ("without", "with") if number % 2 else ("with", "without"):
                    callbacks = ["none"] + [{"name": "checkpoint", "every_seconds": 1e-3}] * (kind == "with")
                    output = Path(folder) / f"{name}-{number}-{kind}"
                    clsfit.train(data, output=output, callback=callbacks, verbosity=0, **options)
                    times[kind] = spent[0]
                    if kind == "with":
                        saves.append((output / "log.txt").read_text().count("checkpoint of step"))
                ratios.append(times["with"] / times["without"])
                seconds.append(times["without"])
            print(
                f"{name}: {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}] of "
                f"{statistics.median(seconds):.1f} s, {statistics.median(saves):.0f} saves",
                flush=True,
            )


if __name__ == "__main__":
    main()
