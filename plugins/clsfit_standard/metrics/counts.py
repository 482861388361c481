"""Metrics by counts of predictions: int64 on the logits' device, read once by ``compute``.

A sample without a prediction is a miss of its own class and a false alarm of none. All equal
scikit-learn's function of the same name, called on the predictions with the same options.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def predictions(logits: Tensor, nothing: int) -> Tensor:
    """[B] int64: the class of the highest of ``logits`` [B, K], or ``nothing`` where one is NaN."""
    highest, predicted = logits.max(dim=1)  # the maximum of a row with NaN is NaN
    return predicted.masked_fill(highest.isnan(), nothing)


class Accuracy:
    """Samples that are right over all samples; in [0, 1], None without samples."""

    higher_is_better = True

    def __init__(self) -> None:
        self.correct = torch.zeros((), dtype=torch.int64)
        self.samples = 0

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""
        right = (predictions(logits, -1) == targets).sum()
        self.correct = self.correct.to(right.device) + right
        self.samples += len(targets)

    def merge(self, other: Accuracy) -> None:
        """Adds the samples that ``other`` has seen."""
        self.correct = self.correct + other.correct.to(self.correct.device)
        self.samples += other.samples

    def compute(self) -> float | None:
        return self.correct.item() / self.samples if self.samples else None


class _ByClass(ABC):
    """Right, predicted and actual counts per class, and a ratio of them.

    Args:
        num_classes: K.
        zero_division: 0 or 1, the ratio of a class whose denominator is 0.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, zero_division: int) -> None:
        self.num_classes, self.zero_division = num_classes, zero_division
        # [3, K + 1] int64: right, predicted, actual; the last column takes what belongs to no class.
        self.counts = torch.zeros(3, num_classes + 1, dtype=torch.int64)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""
        if self.counts.device != logits.device:
            self.counts = self.counts.to(logits.device)
        predicted = predictions(logits, self.num_classes)
        right = targets.masked_fill(predicted != targets, self.num_classes)
        index = torch.stack((right, predicted, targets))
        # scatter_add_, as bincount would wait for the device to learn its result's length
        self.counts.scatter_add_(1, index, torch.ones_like(index))

    def merge(self, other: Any) -> None:
        """Adds the samples that ``other`` has seen."""
        self.counts = self.counts + other.counts.to(self.counts.device)

    def _read(self) -> npt.NDArray[np.int64]:
        """[3, K] int64 on the host: right, predicted, actual."""
        counts: npt.NDArray[np.int64] = self.counts[:, : self.num_classes].cpu().numpy()
        return counts

    def _ratio(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Numerator over denominator, ``zero_division`` where that is 0."""
        above, below = self._fraction(right, predicted, actual)
        values = np.full(below.shape, float(self.zero_division))
        np.divide(above, below, out=values, where=below != 0)
        return values

    @abstractmethod
    def _fraction(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Numerator and denominator of each class, from its counts."""


class _Averaged(_ByClass):
    """The average of the classes' ratios.

    ``macro`` is the plain mean over the classes that occur among targets or predictions (scikit-learn's
    ``labels=None``), ``weighted`` the mean by number of samples, ``micro`` takes the ratio of sums.

    Args:
        num_classes: K.
        average: ``macro``, ``micro`` or ``weighted``.
        zero_division: 0 or 1, the value of a class whose denominator is 0.
    """

    def __init__(self, num_classes: int, average: str = "macro", zero_division: int = 0) -> None:
        super().__init__(num_classes, zero_division)
        self.average = average

    def compute(self) -> float | None:
        """The average, in [0, 1]; None without samples."""
        right, predicted, actual = self._read()
        samples = int(actual.sum())
        if not samples:
            return None
        if self.average == "micro":
            totals = (counts.sum(keepdims=True) for counts in (right, predicted, actual))
            return float(self._ratio(*totals)[0])
        values = self._ratio(right, predicted, actual)
        if self.average == "weighted":
            return float((values * actual).sum() / samples)
        return float(values[(predicted + actual) > 0].mean())

    def compute_per_class(self) -> list[float | None]:
        """K values; None for a class that occurs neither among targets nor among predictions."""
        right, predicted, actual = self._read()
        values = self._ratio(right, predicted, actual)
        return [float(v) if seen else None for v, seen in zip(values, (predicted + actual) > 0, strict=True)]


class Precision(_Averaged):
    """Of the samples predicted as a class, the share that belongs to it."""

    def _fraction(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return right, predicted


class Recall(_Averaged):
    """Of the samples of a class, the share predicted as it."""

    def _fraction(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return right, actual


class F1(_Averaged):
    """Harmonic mean of precision and recall, ``2 right / (predicted + actual)``.

    The macro average is the mean of the classes' F1, not the F1 of mean precision and recall: Opitz
    and Burst 2019, https://arxiv.org/abs/1911.03347.
    """

    def _fraction(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return 2 * right, predicted + actual


class BalancedAccuracy(_ByClass):
    """The mean recall of the classes that occur among the targets, each counting alike; in [0, 1].

    Brodersen et al. 2010, https://doi.org/10.1109/ICPR.2010.764. Macro recall differs from it where a
    class is predicted that no target has: there that class counts, as 0.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, zero_division=0)

    def compute(self) -> float | None:
        """The mean; None without samples."""
        recalls = [recall for recall in self.compute_per_class() if recall is not None]
        return math.fsum(recalls) / len(recalls) if recalls else None

    def compute_per_class(self) -> list[float | None]:
        """K recalls; None for a class that does not occur among the targets."""
        right, predicted, actual = self._read()
        recalls = self._ratio(right, predicted, actual)
        return [float(recall) if count else None for recall, count in zip(recalls, actual, strict=True)]

    def _fraction(
        self, right: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return right, actual
