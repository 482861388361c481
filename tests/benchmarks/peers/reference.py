"""A loop in the style of torchvision's reference scripts: transforms v2 on uint8 tensors, meters read at every step."""

from __future__ import annotations

import torch
from shared import MEAN, STD, Clock, accuracy, arguments, autocast, held_out, network, placed, report, sent
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

given = arguments()
cut = v2.RandomCrop(given.side, padding=4) if given.side <= 32 else v2.RandomResizedCrop(given.side, antialias=True)
steps = [
    cut,
    v2.RandomHorizontalFlip(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(MEAN, STD),
    v2.ToPureTensor(),
]


def decoded(path: str) -> torch.Tensor:
    """uint8 [3, H, W], by torchvision's own decoder."""
    return decode_image(path, mode=ImageReadMode.RGB)


clock = Clock(given.device)
if given.decoder == "torchvision":
    pictures = ImageFolder(str(given.folder / "train"), v2.Compose(steps), loader=decoded)
else:
    pictures = ImageFolder(str(given.folder / "train"), v2.Compose([v2.PILToTensor(), *steps]))
loader = DataLoader(
    pictures,
    given.batch,
    shuffle=True,
    num_workers=given.workers,
    persistent_workers=given.workers > 0,
    pin_memory=given.device != "cpu",
)
if given.model == "none":
    for _ in range(given.epochs):
        clock.epoch(sum(len(images.to(given.device)) for images, _ in loader))
    report(**clock.rates())
else:
    model = placed(network(given.model, len(pictures.classes)), given.device)
    optimizer = optim.SGD(model.parameters(), lr=given.lr, momentum=0.9)
    loss = nn.CrossEntropyLoss()
    for _ in range(given.epochs):
        model.train()
        losses = hits = 0.0
        count = 0
        for images, targets in loader:
            images, targets = sent(images, given.device), targets.to(given.device, non_blocking=True)
            with autocast(given.device):
                logits = model(images)
                value = loss(logits, targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses += value.item() * len(targets)
            hits += (logits.argmax(1) == targets).sum().item()
            count += len(targets)
        clock.epoch(count)
    report(**clock.rates(), accuracy=accuracy(model, held_out(given), given.device))
