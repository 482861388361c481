"""Twenty lines that train on scikit-learn's digits, judge every epoch and save: what a user would write."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from shared import report
from sklearn.datasets import load_digits
from torch import nn, optim

recipe, epochs, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32).sub(0.5).div(0.25).view(-1, 1, 8, 8)
labels = torch.tensor(digits.target)
torch.manual_seed(0)
mixed = torch.randperm(len(labels))
train, val = mixed[359:], mixed[:359]

if recipe == "mlp":
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer, scheduler = optim.SGD(model.parameters(), lr=0.1), None
else:  # clsfit's default recipe
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if before == 1 else []
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(train) // 32))

loss = nn.CrossEntropyLoss()
for epoch in range(epochs):
    model.train()
    order = train[torch.randperm(len(train))]
    for rows in order.split(32):
        optimizer.zero_grad()
        loss(model(images[rows]), labels[rows]).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(images[val]).argmax(1) == labels[val]).float().mean().item()
    print(epoch, accuracy)
torch.save(model.state_dict(), file)
report(accuracy=accuracy, pictures=epochs * len(train))
