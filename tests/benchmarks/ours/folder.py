"""Training on a folder by clsfit, as fast as it is: pictures per second of the first epoch and of later ones.

python folder.py FOLDER --model NAME --side N --epochs N --output DIR     (and more, see below)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import PIL.Image  # noqa: F401 - before the clock starts, as in the peers' programs
import torch
from clsfit_measured.parts import ENDS

import clsfit
import clsfit.build
import clsfit.engine.fit
import clsfit.training

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path, help="with train/CLASS and test/CLASS")
parser.add_argument("--model", required=True, help="none, resnet18_small, or a model's name")
parser.add_argument("--side", type=int, default=32)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--device", default="cpu")
parser.add_argument("--step", default="auto")
parser.add_argument("--output", type=Path, required=True)
given = parser.parse_args()

names = {"none": "three_convolutions", "resnet18_small": {"name": "resnet18", "stem": "small"}}
if given.model not in ("none", "three_convolutions"):
    import torchvision.models  # noqa: F401 - the peers' programs have it too

nothing_known = tempfile.TemporaryDirectory()  # or a later round would find headers that an earlier one has read
os.environ["CLSFIT_CACHE"] = nothing_known.name
began = time.perf_counter()
run = clsfit.train(
    given.folder / "train",
    model=names.get(given.model, given.model),
    augment=["crop" if given.side <= 32 else "random_resized_crop", "hflip"],
    optimizer={"name": "sgd", "lr": given.lr, "momentum": 0.9, "weight_decay": 0.0},
    scheduler="constant",
    callback=[{"name": "drain", "passes": given.epochs} if given.model == "none" else "clock"],
    input_size=given.side,
    channels=3,
    val_fraction=0.0,
    batch_size=given.batch,
    epochs=given.epochs,
    device=given.device,
    step=given.step,
    output=given.output,
    overwrite=True,
    verbosity=0,
)
(first, pictures), (last, _) = ENDS[0], ENDS[-1]
found = {
    "first": pictures / (first - began),
    "later": sum(count for _, count in ENDS[1:]) / (last - first),
    "pictures": sum(count for _, count in ENDS),
}
if given.model != "none":
    found["accuracy"] = clsfit.load(run.directory).evaluate(str(given.folder / "test")).scores["accuracy"]
if torch.cuda.is_initialized():
    found["device_peak"] = torch.cuda.max_memory_allocated() / 2**20
print(json.dumps(found))
