"""Losses for unbalanced data, by the numbers of training pictures per class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsfit.data.balance import effective_numbers
from clsfit_standard.losses.base import at_least_float32
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal


class ClassBalanced(Focal):
    """Class-balanced focal loss, softmax form (Cui et al. 2019, https://arxiv.org/abs/1901.05555).

    ``-w * (1 - p)**gamma * log(p)`` of the target's probability p, where w is one over the effective number
    ``(1 - beta**n) / (1 - beta)`` of the n training pictures of its class, scaled so that the K weights sum to K.
    With gamma 0 it is class-balanced cross entropy; with beta 0 all weights are 1. Soft targets give the
    expectation under the target's distribution.

    Args:
        class_counts: K training pictures per class; of a class without any, one is assumed.
        beta: in [0, 1); the nearer to 1, the more rare classes count.
        gamma: as of the focal loss, >= 0.
    """

    corrects_imbalance = True
    weights: Tensor

    def __init__(self, class_counts: Sequence[int], beta: float = 0.999, gamma: float = 0.0) -> None:
        super().__init__(gamma)
        self.register_buffer("weights", effective_weights(class_counts, beta), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample; as :meth:`clsfit_standard.losses.focal.Focal.forward`."""
        log_p = F.log_softmax(at_least_float32(logits), dim=1)
        weights = self.weights.to(log_p.dtype)
        if not targets.is_floating_point():
            return weights[targets] * self._of(log_p.gather(1, targets[:, None]).squeeze(1))
        return (targets.to(log_p.dtype) * weights * self._of(log_p)).sum(1)


class LogitAdjusted(CrossEntropy):
    """Logit-adjusted cross entropy (Menon et al. 2021, https://arxiv.org/abs/2007.07314).

    Cross entropy of ``logits + tau * log(n / N)``, with n of the N training pictures in a class. So trained, the
    logits themselves are right for classes of equal shares: predictions and metrics are by them. With tau 0 it is
    cross entropy. Soft targets give the expectation under the target's distribution.

    Args:
        class_counts: K training pictures per class; of a class without any, one is assumed.
        tau: how much of the imbalance is taken out, >= 0; 1 minimises the balanced error.
    """

    corrects_imbalance = True
    assumes_shares = True
    shift: Tensor

    def __init__(self, class_counts: Sequence[int], tau: float = 1.0) -> None:
        super().__init__()
        shares = _at_least_one(class_counts)
        self.register_buffer("shift", (tau * (shares / shares.sum()).log()).float(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample; as :meth:`clsfit_standard.losses.cross_entropy.CrossEntropy.forward`."""
        logits = at_least_float32(logits)
        return super().forward(logits + self.shift.to(logits.dtype), targets)


class BalancedSoftmax(LogitAdjusted):
    """Balanced softmax (Ren et al. 2020, https://arxiv.org/abs/2007.10740).

    Cross entropy of ``logits + log(n)``: each class's exponential counts as often as it has training pictures.
    The same as :class:`LogitAdjusted` with tau 1.

    Args:
        class_counts: K training pictures per class; of a class without any, one is assumed.
    """

    def __init__(self, class_counts: Sequence[int]) -> None:
        super().__init__(class_counts, tau=1.0)


class LDAM(nn.Module):
    """Label-distribution-aware margins, with deferred re-weighting (Cao et al. 2019, https://arxiv.org/abs/1906.07413).

    Cross entropy of ``scale * (logits - margin)``, where only the target's logit is lowered, by a margin that is
    proportional to ``n**(-1/4)`` for a class with n training pictures and ``max_margin`` for the rarest. After the
    share ``reweight_after`` of the epochs a sample's loss is also weighted as :class:`ClassBalanced` weighs it, in
    training only, so that validation losses of all epochs compare.

    The paper's logits are cosines, of normalised features and weights, with a scale of 30. Those of other models grow
    by themselves, hence the default of 1. Takes no soft targets: a margin belongs to one class.

    Args:
        class_counts: K training pictures per class; of a class without any, one is assumed.
        max_margin: >= 0; 0 is cross entropy of the scaled logits.
        scale: above 0.
        reweight_after: in [0, 1]; 1 never does.
        beta: of the weights, in [0, 1).
    """

    graph_safe = True
    corrects_imbalance = True
    margins: Tensor
    deferred: Tensor
    weights: Tensor

    def __init__(
        self,
        class_counts: Sequence[int],
        max_margin: float = 0.5,
        scale: float = 1.0,
        reweight_after: float = 0.8,
        beta: float = 0.9999,
    ) -> None:
        super().__init__()
        self.scale, self.reweight_after = scale, reweight_after
        counts = _at_least_one(class_counts)
        self.register_buffer("margins", (max_margin * (counts.min() / counts) ** 0.25).float(), persistent=False)
        self.register_buffer("deferred", effective_weights(class_counts, beta), persistent=False)
        self.register_buffer("weights", torch.ones_like(self.deferred), persistent=False)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Sets the weights of the epoch that begins, ``epoch`` of ``epochs`` being done."""
        if epoch < self.reweight_after * epochs:
            self.weights.fill_(1.0)
        else:
            self.weights.copy_(self.deferred)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample.

        Args:
            logits: [B, K] float of any precision.
            targets: [B] int64.

        Returns:
            [B] float32 (float64 for float64 logits).
        """
        logits = at_least_float32(logits)
        lowered = F.one_hot(targets, logits.shape[1]) * self.margins.to(logits.dtype)
        values = F.cross_entropy(self.scale * (logits - lowered), targets, reduction="none")
        return values * self.weights.to(logits.dtype)[targets] if self.training else values


def effective_weights(class_counts: Sequence[int], beta: float) -> Tensor:
    """[K] float32: one over the effective numbers, scaled to sum to K."""
    weights = 1 / torch.from_numpy(effective_numbers(_at_least_one(class_counts).numpy(), beta))
    return (weights * len(weights) / weights.sum()).float()  # float64 is unknown to some devices


def _at_least_one(class_counts: Sequence[int]) -> Tensor:
    return torch.tensor(class_counts, dtype=torch.float64).clamp(min=1)
