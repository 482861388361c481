"""Applies a ResNet-18 to all pictures of a folder and writes a table: what a user would write.

python predict_hand.py WEIGHTS FOLDER TABLE DEVICE
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from shared import MEAN, STD, autocast, network, placed, report, sent
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

weights, folder, table, device = sys.argv[1:]
paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


class Pictures(Dataset):
    """The folder's pictures as tensors."""

    def __len__(self) -> int:
        return len(paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return prepare(Image.open(paths[index]).convert("RGB"))


tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(weights).items()}
classes = len(tensors["fc.bias"])
model = network("resnet18", classes)
model.load_state_dict(tensors)
model = placed(model, device).eval()
found, sure = [], []
with torch.no_grad():
    for images in DataLoader(Pictures(), 256):
        with autocast(device):
            logits = model(sent(images, device))
        best = logits.float().softmax(1).max(1)
        found += best.indices.tolist()
        sure += best.values.tolist()
with open(table, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["path", "predicted", "probability"])
    writer.writerows(zip(paths, found, sure, strict=True))
report(pictures=len(paths))
