"""Several models as one, whose probabilities are the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clsfit.errors import CheckpointError, printable

if TYPE_CHECKING:
    from clsfit.model import Model


class Averaged(nn.Module):
    """The logarithm of the mean of the models' probabilities, which is what a softmax gives back.

    Args:
        modules: each gives logits [B, K] of the same classes.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] float32 from ``images`` [B, C, H, W] float."""
        logarithms = torch.stack([member(images).float().log_softmax(1) for member in self.members])
        return torch.logsumexp(logarithms, 0) - math.log(len(logarithms))


def average(models: Sequence[Model], path: Path) -> Model:
    """The first of ``models``, with all their modules as one.

    Args:
        models: as they were loaded.
        path: where they come from together. It lies in no run: what the folds recorded, they were trained on.

    Raises:
        CheckpointError: they are not of the same classes and preprocessing.
    """
    first = models[0]
    for model in models[1:]:
        same = (model.class_names, model.prepare, model.finish) == (first.class_names, first.prepare, first.finish)
        if not same or model.header.get("augments") != first.header.get("augments"):
            raise CheckpointError(
                "the folds' models have different classes or preprocessing",
                f"{printable(str(first.path))}, {printable(str(model.path))}",
                "apply one of them, or train all folds alike",
            )
    first.module, first.path = Averaged([model.module for model in models]), path
    return first
