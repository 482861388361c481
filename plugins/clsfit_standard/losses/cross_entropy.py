"""Cross entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clsfit_standard.losses.base import at_least_float32


class CrossEntropy(nn.Module):
    """Cross entropy: minus the log-probability of the target.

    Soft targets: the expectation of that under the target's distribution.
    """

    soft_targets = True
    graph_safe = True
    smoothing = 0.0

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample.

        Args:
            logits: [B, K] float of any precision.
            targets: [B] int64, or [B, K] float with rows that sum to one.

        Returns:
            [B] float32 (float64 for float64 logits).
        """
        logits = at_least_float32(logits)
        if targets.is_floating_point():
            targets = targets.to(logits.dtype)
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
