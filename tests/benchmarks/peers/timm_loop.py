"""timm's loader, network and optimizer, in a loop in the style of its training script: the loss is read at every step.

The crop is timm's own, a random resized one at every size, with its colour jitter off.
"""

from __future__ import annotations

import torch
from shared import MEAN, STD, Clock, accuracy, arguments, network, report
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter

given = arguments()
on_gpu = given.device != "cpu"
clock = Clock(given.device)
pictures = create_dataset("", root=str(given.folder), split="train", is_training=True)
loader = create_loader(
    pictures,
    input_size=(3, given.side, given.side),
    batch_size=given.batch,
    is_training=True,
    use_prefetcher=on_gpu,
    color_jitter=None,
    interpolation="bilinear",
    mean=MEAN,
    std=STD,
    num_workers=given.workers,
    persistent_workers=given.workers > 0,
    pin_memory=on_gpu,
    device=torch.device(given.device),
)
if given.model == "none":
    for _ in range(given.epochs):
        clock.epoch(sum(len(images) for images, _ in loader))
    report(**clock.rates())
else:
    classes = len(pictures.reader.class_to_idx)
    model = network(given.model, classes).to(given.device)
    optimizer = create_optimizer_v2(model, opt="momentum", lr=given.lr, momentum=0.9, weight_decay=0.0)
    loss = torch.nn.CrossEntropyLoss().to(given.device)
    for _ in range(given.epochs):
        model.train()
        meter, count = AverageMeter(), 0
        for images, targets in loader:
            images, targets = images.to(given.device), targets.to(given.device)
            value = loss(model(images), targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            meter.update(value.item(), len(images))
            count += len(images)
        clock.epoch(count)
    report(**clock.rates(), accuracy=accuracy(model, given.folder / "test", given.side, given.device))
