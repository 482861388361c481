"""A loop as a tutorial writes it: ImageFolder, DataLoader, torchvision's transforms on Pillow images."""

from __future__ import annotations

from shared import MEAN, STD, Clock, accuracy, arguments, network, report
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
    model = network(given.model, len(pictures.classes)).to(given.device)
    optimizer = optim.SGD(model.parameters(), lr=given.lr, momentum=0.9)
    loss = nn.CrossEntropyLoss()
    for _ in range(given.epochs):
        model.train()
        count = 0
        for images, targets in loader:
            images, targets = images.to(given.device, non_blocking=True), targets.to(given.device, non_blocking=True)
            optimizer.zero_grad()
            loss(model(images), targets).backward()
            optimizer.step()
            count += len(targets)
        clock.epoch(count)
    report(**clock.rates(), accuracy=accuracy(model, given.folder / "test", given.side, given.device))
