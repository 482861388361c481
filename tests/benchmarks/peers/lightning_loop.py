"""Lightning's Trainer with bar, logger, checkpoints and summary off, on ImageFolder and DataLoader."""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
from shared import MEAN, STD, Clock, accuracy, arguments, network, report
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
        self.model = network(given.model, len(pictures.classes))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, targets = batch
        return functional.cross_entropy(self.model(images), targets)

    def on_train_epoch_end(self) -> None:
        clock.epoch(len(pictures))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=given.lr, momentum=0.9)


trainer = lightning.Trainer(
    max_epochs=given.epochs,
    accelerator="cpu" if given.device == "cpu" else "gpu",
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
classifier = Classifier()
trainer.fit(classifier, loader)
report(**clock.rates(), accuracy=accuracy(classifier.model, given.folder / "test", given.side, given.device))
