"""Metrics by the rank of the true class among a sample's logits.

The highest logit has rank 1; of equal ones the class with the lower index comes first, as in argmax.
A sample with a NaN among its logits has no rank: it counts 0, whatever ``k`` is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clsfit_standard.metrics.kept import PairMean


def ranks(logits: Tensor, targets: Tensor) -> Tensor:
    """[B] int64 in 1..K: the rank of ``targets`` [B] among ``logits`` [B, K]; 0 where a logit is NaN."""
    own, index = logits.gather(1, targets[:, None]), targets[:, None]
    earlier = torch.arange(logits.shape[1], device=logits.device) < index
    ahead = (logits > own) | (earlier & (logits == own))
    return (ahead.sum(1) + 1).masked_fill(logits.isnan().any(1), 0)


class TopK:
    """The share of samples whose class is among the ``k`` highest logits; in [0, 1].

    Per class: of the samples of that class. With ``k`` of K or more it is 1, but for samples with NaN.

    Args:
        num_classes: K.
        k: how many classes of a sample count, >= 1.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, k: int = 5) -> None:
        self.k = k
        self.counts = torch.zeros(2, num_classes, dtype=torch.int64)  # right and all samples of each class

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""
        if self.counts.device != logits.device:
            self.counts = self.counts.to(logits.device)
        rank = ranks(logits, targets)
        right = (rank > 0) & (rank <= self.k)
        self.counts.scatter_add_(1, targets.expand(2, -1), torch.stack((right.long(), torch.ones_like(targets))))

    def merge(self, other: Any) -> None:
        """Adds the samples that ``other`` has seen."""
        self.counts = self.counts + other.counts.to(self.counts.device)

    def compute(self) -> float | None:
        """The share; None without samples."""
        right, samples = self.counts.sum(1).tolist()
        return right / samples if samples else None

    def compute_per_class(self) -> list[float | None]:
        """K shares; None for a class without samples."""
        return [right / samples if samples else None for right, samples in self.counts.T.tolist()]


class _RankMean(PairMean):
    """The mean over samples of a value of the rank; in [0, 1].

    Args:
        num_classes: K.
        k: ranks beyond it count 0, >= 1; None: all count.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, k: int | None = None) -> None:
        super().__init__(num_classes)
        self.k = k

    def _found(self, logits: Tensor, targets: Tensor) -> Tensor:
        return ranks(logits, targets)

    def _values(self, targets: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        last = self.num_classes if self.k is None else self.k
        # a rank of 0 is divided as if it were 1, and then counts 0
        return np.where((found > 0) & (found <= last), self._gain(np.maximum(found, 1)), 0.0)

    def _gain(self, rank: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The value [P] of each rank from 1."""
        return 1.0 / rank


class MeanReciprocalRank(_RankMean):
    """Mean reciprocal rank: the mean of ``1 / rank``.

    Voorhees 1999, https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf. Without ties scikit-learn's
    ``label_ranking_average_precision_score`` of the one-hot targets.

    Args:
        num_classes: K.
        k: ranks beyond it count 0, >= 1; None: all count.
    """


class MeanAveragePrecision(_RankMean):
    """Mean average precision of each sample's ranking of the classes. It is not detection's mAP.

    Average precision is the mean of the precisions at the ranks of the relevant classes. With one
    label per picture that is the one precision ``1 / rank``, so this is the number of ``mrr``.

    Args:
        num_classes: K.
        k: ranks beyond it count 0, >= 1; None: all count.
    """


class NDCG(_RankMean):
    """Normalised discounted cumulative gain of each sample's ranking of the classes.

    One class is relevant, so the ideal gain is 1 and a sample's value ``1 / log2(rank + 1)``.
    Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418. Without ties scikit-learn's
    ``ndcg_score`` of the one-hot targets.

    Args:
        num_classes: K.
        k: ranks beyond it count 0, >= 1; None: all count.
    """

    def _gain(self, rank: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        gain: npt.NDArray[np.float64] = 1.0 / np.log2(rank + 1.0)
        return gain
