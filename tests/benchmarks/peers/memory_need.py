"""What torch and the data need: every picture as uint8 in memory, and training steps on it. Nothing else is imported.

python memory_need.py FOLDER EPOCHS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared import network, report
from torch.nn import functional

BATCH = 128
files = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file())
names = sorted({path.parent.name for path in files})
images = torch.empty(len(files), 3, 32, 32, dtype=torch.uint8)
labels = torch.tensor([names.index(path.parent.name) for path in files])
for row, path in enumerate(files):
    images[row] = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
model = network("three_convolutions", len(names))
momenta = [torch.zeros_like(parameter) for parameter in model.parameters()]
for _ in range(int(sys.argv[2])):
    for rows in torch.randperm(len(files)).split(BATCH):
        model.zero_grad()
        functional.cross_entropy(model(images[rows].float().sub(127.5).div(63.75)), labels[rows]).backward()
        with torch.no_grad():  # by hand, since torch.optim imports torch's compiler
            for parameter, momentum in zip(model.parameters(), momenta, strict=True):
                parameter -= 0.05 * momentum.mul_(0.9).add_(parameter.grad)
report(pictures=len(files) * int(sys.argv[2]))
