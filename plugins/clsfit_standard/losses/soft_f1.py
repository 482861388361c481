"""F1 with probabilities in the place of counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clsfit_standard.losses.base import at_least_float32, distributions
from clsfit_standard.losses.cross_entropy import CrossEntropy


class SoftF1(nn.Module):
    """One minus the macro F1 of a batch, counted with probabilities (soft F1; see Bénédict et al. 2022,
    sigmoidF1, https://arxiv.org/abs/2108.10566).

    A class counts ``1 - 2 * sum(p * t) / (sum(p) + sum(t))``, summed over the batch, with p the softmax
    of the logits and t the target. The loss is the mean over the classes present in the batch, those
    whose targets sum to more than 0: a class that is not there can neither be hit nor missed. It lies
    in [0, 1], and is 0 where every sample has probability 1 on its class.

    It is no sum over samples: the larger the batch, the nearer to the F1 of the whole set. The
    gradient of a sample that is wrong with certainty fades; a share of cross entropy keeps it alive.

    Args:
        cross_entropy: share s of mean cross entropy, in [0, 1]: ``(1 - s) * soft F1 + s * cross entropy``.
    """

    soft_targets = True
    batchwise = True

    def __init__(self, cross_entropy: float = 0.0) -> None:
        super().__init__()
        self.share = cross_entropy
        self.cross_entropy = CrossEntropy()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of the batch.

        Args:
            logits: [B, K] float of any precision, B >= 1.
            targets: [B] int64, or [B, K] float with rows that sum to one.

        Returns:
            A scalar, float32 (float64 for float64 logits).
        """
        probabilities = at_least_float32(logits).softmax(1)
        shares = distributions(targets, probabilities)
        hits, support = (probabilities * shares).sum(0), shares.sum(0)
        present = support > 0
        # Only chosen among, never cut out: the number of classes present stays on the device.
        whole = torch.where(present, probabilities.sum(0) + support, 1.0)
        missed: Tensor = torch.where(present, 1 - 2 * hits / whole, 0.0).sum() / present.sum()
        if self.share == 0:
            return missed
        entropy: Tensor = self.cross_entropy(logits, targets).mean()
        return (1 - self.share) * missed + self.share * entropy
