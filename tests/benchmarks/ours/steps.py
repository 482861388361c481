"""Time per step of a tiny network on the digits: the slope between a short and a long run of clsfit.

python steps.py sgd|adamw|torch_sgd SHORT LONG FOLDER     (epochs; where runs are written)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import clsfit

optimizer, short, long, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
options = {
    "sgd": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "torch_sgd": {"name": "torch_sgd", "lr": 0.05, "momentum": 0.9},
    "adamw": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01},
}[optimizer]


def train(epochs: int) -> tuple[float, float]:
    """Seconds, and the accuracy of the last epoch."""
    began = time.perf_counter()
    run = clsfit.train(
        "digits",
        model={"name": "mlp", "hidden": [64]},
        optimizer=options,
        scheduler="constant",
        metric=["none", "accuracy"],
        callback=["none", "listener_a", "listener_b", "listener_c"],
        val_fraction=0.0,
        batch_size=32,
        threads=1,
        device="cpu",
        epochs=epochs,
        output=folder,
        overwrite=True,
        verbosity=0,
    )
    return time.perf_counter() - began, run.metrics[-1]["train/accuracy"]


train(short)
few, _ = train(short)
many, accuracy = train(long)
pictures = 1797
steps = (long - short) * -(-pictures // 32)
print(json.dumps({"microseconds": (many - few) / steps * 1e6, "accuracy": accuracy, "pictures": long * pictures}))
