"""``--recipe cifar-speed``: seconds of training, of all else until the model file, and the accuracy on the tests.

python speed.py FOLDER --output DIR [--device D] [--epochs N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

began = time.perf_counter()  # importing torch is a part of what a command takes

import torch  # noqa: E402

import clsfit  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path, help="with train/CLASS and test/CLASS")
parser.add_argument("--device", default="cpu")
parser.add_argument("--epochs", type=int, help="other than the recipe's")
parser.add_argument("--output", type=Path, required=True)
given = parser.parse_args()

options: dict[str, Any] = {} if given.epochs is None else {"epochs": given.epochs}
if given.device != "cpu":
    options["callback"] = ["cudnn_benchmark"]  # beside the recipe's
run = clsfit.train(
    given.folder / "train",
    recipe="cifar-speed",
    channels=3,
    device=given.device,
    output=given.output,
    overwrite=True,
    verbosity=0,
    **options,
)
whole, last = time.perf_counter() - began, run.metrics[-1]
tested = clsfit.load(run.directory / "last.safetensors").evaluate(str(given.folder / "test"))
found = {"training": last["seconds"], "rest": whole - last["seconds"], "accuracy": tested.scores["accuracy"]}
if torch.cuda.is_initialized():
    found["device_peak"] = torch.cuda.max_memory_allocated() / 2**20
print(json.dumps(found | {"pictures": last["epoch"] * sum(1 for _ in (given.folder / "train").rglob("*.*"))}))
