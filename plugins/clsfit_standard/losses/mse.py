"""Squared error on probabilities."""

from __future__ import annotations

from torch import Tensor, nn

from clsfit_standard.losses.base import at_least_float32, distributions


class MSE(nn.Module):
    """Squared error of the probabilities, summed over classes (Brier 1950,
    https://doi.org/10.1175/1520-0493%281950%29078%3C0001:VOFEIT%3E2.0.CO;2).

    ``sum((p - t)**2)`` with p the softmax of the logits and t the target, one-hot or soft: 0 where they
    are equal, 2 where all probability lies on another class. A sample that is wrong with certainty
    costs no more than that, and its gradient fades: noisy labels do less harm than with cross entropy,
    and training starts more slowly.
    """

    soft_targets = True

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample.

        Args:
            logits: [B, K] float of any precision.
            targets: [B] int64, or [B, K] float with rows that sum to one.

        Returns:
            [B] float32 (float64 for float64 logits), each in [0, 2].
        """
        probabilities = at_least_float32(logits).softmax(1)
        return (probabilities - distributions(targets, probabilities)).square().sum(1)
