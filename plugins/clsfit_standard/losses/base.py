"""What the losses share: the precision that they compute in, and targets as distributions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_float32(logits: Tensor) -> Tensor:
    """``logits`` in float32, or as they are if they are float32 or float64."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def distributions(targets: Tensor, like: Tensor) -> Tensor:
    """``targets`` as [B, K] in the type of ``like`` [B, K]: soft targets as they are, indices one-hot."""
    if not targets.is_floating_point():
        targets = F.one_hot(targets, like.shape[1])
    return targets.to(like.dtype)
