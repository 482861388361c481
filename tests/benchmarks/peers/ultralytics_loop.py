"""Ultralytics' classification trainer with torchvision's ResNet-18, its own crop, a random resized one, and its own
number of threads. The rest of its augmentation is off.

It computes in fp32 on a GPU too: its check of mixed precision wants to download a model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from shared import Clock, arguments, report
from ultralytics import YOLO

given = arguments()
classes = len(list((given.folder / "train").iterdir()))
clock = Clock(given.device)
with tempfile.TemporaryDirectory() as place:
    description = Path(place, "resnet18.yaml")
    description.write_text(
        f"nc: {classes}\nbackbone:\n  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]\n"
        "head:\n  - [-1, 1, Classify, [nc]]\n"
    )
    model = YOLO(str(description), task="classify")
    pictures = sum(1 for path in (given.folder / "train").rglob("*") if path.is_file())
    model.add_callback("on_train_epoch_end", lambda trainer: clock.epoch(pictures))
    model.train(
        data=str(given.folder),
        epochs=given.epochs,
        imgsz=given.side,
        batch=given.batch,
        workers=given.workers,
        device=given.device,
        project=place,
        val=False,
        plots=False,
        verbose=False,
        amp=False,
        optimizer="SGD",
        lr0=given.lr,
        lrf=1.0,
        momentum=0.9,
        weight_decay=0.0,
        warmup_epochs=0,
        auto_augment=None,
        erasing=0.0,
        hsv_h=0.0,
        hsv_s=0.0,
        hsv_v=0.0,
    )
report(**clock.rates())
