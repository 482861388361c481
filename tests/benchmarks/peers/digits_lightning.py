"""The digits by Lightning's Trainer, with everything off that a short run can do without."""

from __future__ import annotations

import logging
import sys
import warnings

import lightning
import torch
from shared import report
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
epochs = int(sys.argv[1])
digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32).sub(0.5).div(0.25)
labels = torch.tensor(digits.target)
torch.manual_seed(0)
mixed = torch.randperm(len(labels))
parts = [TensorDataset(images[rows], labels[rows]) for rows in (mixed[359:], mixed[:359])]


class Classifier(lightning.LightningModule):
    """The network of ``digits_hand.py mlp``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.accuracy = 0.0

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.accuracy = (self.model(batch[0]).argmax(1) == batch[1]).float().mean().item()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
classifier = Classifier()
trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, **quiet)
trainer.fit(classifier, DataLoader(parts[0], 32, shuffle=True), DataLoader(parts[1], len(parts[1])))
report(accuracy=classifier.accuracy, pictures=epochs * len(parts[0]))
