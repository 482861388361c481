"""timm's loader, network and optimizer, in a loop in the style of its training script: the loss is read at every step.

Its colour jitter is off, and small pictures are cropped as the others crop them, padded and without a resize.
"""

from __future__ import annotations

from typing import Any

import torch
from shared import (
    MEAN,
    STD,
    Clock,
    accuracy,
    arguments,
    autocast,
    cosine,
    held_out,
    network,
    placed,
    report,
    save,
    sent,
)
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torchvision.transforms import RandomCrop

given = arguments()
on_gpu = given.device != "cpu"
clock = Clock(given.device)
pictures = create_dataset("", root=str(given.folder), split="train", is_training=True)
usual: dict[str, Any] = {
    "input_size": (3, given.side, given.side),
    "batch_size": given.batch,
    "use_prefetcher": on_gpu,
    "interpolation": "bilinear",
    "mean": MEAN,
    "std": STD,
    "num_workers": given.workers,
    "persistent_workers": given.workers > 0,
    "pin_memory": on_gpu,
    "device": torch.device(given.device),
}
loader = create_loader(pictures, is_training=True, color_jitter=None, **usual)
if given.side <= 32:
    pictures.transform.transforms[0] = RandomCrop(given.side, padding=4)
if given.model == "none":
    for _ in range(given.epochs):
        clock.epoch(sum(len(images) for images, _ in loader))
    report(**clock.rates())
else:
    classes = len(pictures.reader.class_to_idx)
    model = placed(network(given.model, classes), given.device)
    forward = torch.compile(model) if given.compile else model
    optimizer = create_optimizer_v2(model, opt="momentum", lr=given.lr, momentum=0.9, weight_decay=0.0)
    loss = torch.nn.CrossEntropyLoss().to(given.device)
    tests, scheduler, reached = held_out(given), None, 0.0
    if given.save:
        scheduler = cosine(optimizer, given.epochs * len(loader))
        unseen = create_dataset("", root=str(given.folder), split="validation", is_training=False)
        tests = create_loader(unseen, is_training=False, crop_pct=1.0, **usual)
    for _ in range(given.epochs):
        model.train()
        meter, count = AverageMeter(), 0
        for images, targets in loader:
            images, targets = sent(images, given.device), targets.to(given.device)
            with autocast(given.device):
                value = loss(forward(images), targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            meter.update(value.item(), len(images))
            count += len(images)
        clock.epoch(count)
        if given.save:
            reached = accuracy(model, tests, given.device)
    if given.save:
        save(model, given.save)
    else:
        reached = accuracy(model, tests, given.device)
    report(**clock.rates(), accuracy=reached)
