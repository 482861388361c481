"""Lightning's Trainer with bar, logger, checkpoints and summary off, on ImageFolder and DataLoader."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from shared import MEAN, STD, Clock, accuracy, arguments, cosine, held_out, network, placed, report, save, sent
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
given = arguments()
cut = transforms.RandomCrop(given.side, padding=4) if given.side <= 32 else transforms.RandomResizedCrop(given.side)
steps = [cut, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]

clock = Clock(given.device)
pictures = ImageFolder(str(given.folder / "train"), transforms.Compose(steps))
loader = DataLoader(
    pictures,
    given.batch,
    shuffle=True,
    num_workers=given.workers,
    persistent_workers=given.workers > 0,
    pin_memory=given.device != "cpu",
)


class Classifier(lightning.LightningModule):
    """The network and its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.model = placed(network(given.model, len(pictures.classes)), given.device)
        self.right = self.seen = 0

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, targets = batch
        return functional.cross_entropy(self.model(sent(images, given.device)), targets)

    def on_validation_epoch_start(self) -> None:
        self.right = self.seen = 0

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        images, targets = batch
        self.right += (self.model(sent(images, given.device)).argmax(1) == targets).sum()
        self.seen += len(targets)

    def on_train_epoch_end(self) -> None:
        clock.epoch(len(pictures))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=given.lr, momentum=0.9)
        if not given.save:
            return optimizer
        scheduler = cosine(optimizer, given.epochs * len(loader))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


trainer = lightning.Trainer(
    max_epochs=given.epochs,
    accelerator="cpu" if given.device == "cpu" else "gpu",
    devices=1,
    precision="32-true" if given.device == "cpu" else "bf16-mixed",
    num_sanity_val_steps=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
classifier, tests = Classifier(), held_out(given)
trainer.fit(classifier, loader, tests if given.save else None)
if given.save:
    save(classifier.model, given.save)
    reached = int(classifier.right) / classifier.seen
else:
    reached = accuracy(placed(classifier.model, given.device), tests, given.device)
report(**clock.rates(), accuracy=reached)
