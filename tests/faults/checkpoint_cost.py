"""What saving costs: the same training with and without checkpoints, in turn, in one process.

    python tests/faults/checkpoint_cost.py [ROUNDS]

``usual`` is the callback as it is; ``busy`` has an ``every_seconds`` so small that only the rule of 50 times
the duration of the last save holds saves back. Both write the best and the last model at epochs' ends.
Prints, for each model, the median of the ratios to a run without the callback, which saves at its start and
its end only, with their spread, and how many saves there were.
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
    "mlp, 1 thread": {"model": {"name": "mlp", "hidden": [64]}, "epochs": 300, "threads": 1},
    "small_cnn, 1 thread": {"model": "small_cnn", "epochs": 12, "threads": 1},
    "small_cnn, 2 threads": {"model": "small_cnn", "epochs": 12, "threads": 2},
    "resnet18 at 32 px, 2 threads": {"model": "resnet18", "epochs": 1, "threads": 2, "input_size": 32, "channels": 3},
}

KINDS: dict[str, list[dict[str, Any]]] = {
    "without": [],
    "usual": [{"name": "checkpoint"}],
    "busy": [{"name": "checkpoint", "every_seconds": 1e-3}],
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
            ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
            saves: dict[str, list[int]] = {kind: [] for kind in KINDS}
            for number in range(rounds):
                times: dict[str, float] = {}
                for kind in list(KINDS)[:: 1 if number % 2 else -1]:
                    output = Path(folder) / f"{name}-{number}-{kind}"
                    clsfit.train(data, output=output, callback=["none", *KINDS[kind]], verbosity=0, **options)
                    times[kind] = spent[0]
                    saves[kind].append((output / "log.txt").read_text().count("checkpoint of step"))
                for kind in KINDS:
                    ratios[kind].append(times[kind] / times["without"])
            for kind in ("usual", "busy"):
                low, middle, high = min(ratios[kind]), statistics.median(ratios[kind]), max(ratios[kind])
                number = statistics.median(saves[kind])
                print(f"{name}, {kind}: {middle:.3f} [{low:.3f}-{high:.3f}], {number:.0f} saves", flush=True)


if __name__ == "__main__":
    main()
