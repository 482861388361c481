"""A loop as a tutorial writes it: ImageFolder, DataLoader, torchvision's transforms on Pillow images."""

from __future__ import annotations

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
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

given = arguments()
if given.side <= 32:
    cuts = [transforms.RandomCrop(given.side, padding=4)]
else:
    cuts = [transforms.RandomResizedCrop(given.side)]
steps = [*cuts, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]

clock = Clock(given.device)
pictures = ImageFolder(str(given.folder / "train"), transforms.Compose(steps))
kept = given.workers > 0
loader = DataLoader(
    pictures,
    given.batch,
    shuffle=True,
    num_workers=given.workers,
    persistent_workers=kept,
    pin_memory=given.device != "cpu",
)
if given.model == "none":
    for _ in range(given.epochs):
        clock.epoch(sum(len(images.to(given.device)) for images, _ in loader))
    report(**clock.rates())
else:
    model = placed(network(given.model, len(pictures.classes)), given.device)
    forward = torch.compile(model) if given.compile else model
    optimizer = optim.SGD(model.parameters(), lr=given.lr, momentum=0.9)
    scheduler = cosine(optimizer, given.epochs * len(loader)) if given.save else None
    loss = nn.CrossEntropyLoss()
    tests, reached = held_out(given), 0.0
    for _ in range(given.epochs):
        model.train()
        count = 0
        for images, targets in loader:
            images, targets = sent(images, given.device), targets.to(given.device, non_blocking=True)
            optimizer.zero_grad()
            with autocast(given.device):
                value = loss(forward(images), targets)
            value.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            count += len(targets)
        clock.epoch(count)
        if given.save:
            reached = accuracy(model, tests, given.device)
    if given.save:
        save(model, given.save)
    else:
        reached = accuracy(model, tests, given.device)
    report(**clock.rates(), accuracy=reached)
