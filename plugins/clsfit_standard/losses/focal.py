"""Focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsfit_standard.losses.base import at_least_float32


class Focal(nn.Module):
    """Focal loss, softmax form (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    ``-(1 - p)**gamma * log(p)`` of the target's probability p. Soft targets t give the sum over
    classes of ``-t * (1 - p)**gamma * log(p)``, which for a one-hot t is the same.

    Loss and gradient are finite for p = 0 and p = 1 and every gamma. With gamma 0 it is cross entropy.

    Args:
        gamma: focus, >= 0; the higher, the less samples count that are right already.
    """

    soft_targets = True
    graph_safe = True

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample.

        Args:
            logits: [B, K] float of any precision.
            targets: [B] int64, or [B, K] float with rows that sum to one.

        Returns:
            [B] float32 (float64 for float64 logits).
        """
        log_p = F.log_softmax(at_least_float32(logits), dim=1)
        if not targets.is_floating_point():
            return self._of(log_p.gather(1, targets[:, None]).squeeze(1))
        return (targets.to(log_p.dtype) * self._of(log_p)).sum(1)

    def _of(self, log_p: Tensor) -> Tensor:
        # expm1 keeps 1 - p exact near p = 1. At p = 1 the power's gradient is infinite for gamma < 1,
        # though the product's is 0: below the clamp no gradient passes, which is that limit.
        miss = torch.expm1(log_p).neg().clamp(min=torch.finfo(log_p.dtype).tiny)
        return -(miss**self.gamma) * log_p
