"""Training mode, but for normalisation layers that are frozen."""

from __future__ import annotations

import torch


def training_mode(model: torch.nn.Module) -> None:
    """``model.train()``, without the layers that normalise by running statistics and are frozen.

    Such a layer, none of whose own parameters is trained, stays in evaluation: it would go on to move its
    statistics, and to normalise by the batch, under weights that were trained with what it has.
    """
    model.train()
    if all(parameter.requires_grad for parameter in model.parameters()):
        return
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
        if frozen and getattr(module, "running_mean", None) is not None:
            module.eval()
