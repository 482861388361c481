"""Time per step of a tiny network on the digits: the slope between a short and a long run, by a loop of choice.

python steps.py hand|loader|lightning sgd|adamw SHORT LONG     (epochs)
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable

import torch
from shared import report
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

BATCH = 32
digits = load_digits()
IMAGES = torch.tensor(digits.data / 16, dtype=torch.float32).sub(0.5).div(0.25)
LABELS = torch.tensor(digits.target)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def optimizer_of(model: nn.Module) -> optim.Optimizer:
    if sys.argv[2] == "adamw":
        return optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    return optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def hand(epochs: int) -> nn.Module:
    """The data in memory, and nothing but the steps."""
    model = network()
    optimizer = optimizer_of(model)
    for _ in range(epochs):
        for rows in torch.randperm(len(LABELS)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(IMAGES[rows]), LABELS[rows]).backward()
            optimizer.step()
    return model


def loader(epochs: int) -> nn.Module:
    """A DataLoader, and loss and hits read at every step, as reference scripts do."""
    model = network()
    optimizer = optimizer_of(model)
    batches = DataLoader(TensorDataset(IMAGES, LABELS), BATCH, shuffle=True)
    for _ in range(epochs):
        losses = hits = 0.0
        for images, labels in batches:
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(labels)
            hits += (logits.argmax(1) == labels).sum().item()
    return model


def lightning(epochs: int) -> nn.Module:
    """Lightning's Trainer, with everything off."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> optim.Optimizer:
            return optimizer_of(self.model)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    classifier = Classifier()
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", **off)
    trainer.fit(classifier, DataLoader(TensorDataset(IMAGES, LABELS), BATCH, shuffle=True))
    return classifier.model


def timed(train: Callable[[int], nn.Module], epochs: int) -> tuple[float, nn.Module]:
    began = time.perf_counter()
    model = train(epochs)
    return time.perf_counter() - began, model


way = {"hand": hand, "loader": loader, "lightning": lightning}[sys.argv[1]]
short, long = int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
way(short)
few, _ = timed(way, short)
many, model = timed(way, long)
steps = (long - short) * -(-len(LABELS) // BATCH)
accuracy = (model(IMAGES).argmax(1) == LABELS).float().mean().item()
report(microseconds=(many - few) / steps * 1e6, accuracy=accuracy, pictures=long * len(LABELS))
