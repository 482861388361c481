"""Areas under curves: they depend on the order of all samples, so all logits are kept."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clsfit_standard.metrics.kept import Kept

_ROWS = 4096  # of which the probabilities are taken at a time


class AUROC(Kept):
    """Area under the ROC curve, each class against the rest, by softmax probabilities; in [0, 1].

    The share of pairs (a sample of the class, one of the rest) in which the first has the higher
    probability, equal ones counted half (Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010).
    Probabilities are float64, the same bits that ``evaluate --predictions`` writes, and the counts
    are whole numbers: the value is that of scikit-learn's ``roc_auc_score`` with ``multi_class="ovr"``.
    With two classes both have a value, and the average is of both; scikit-learn's one number,
    ``roc_auc_score(y, p[:, 1])``, is the second class's.

    A class without samples, or with all of them, has no curve: its value is None, and the average is
    over the others. A sample with a NaN among its probabilities (a logit is NaN or +inf) is behind all
    others where it is of the class, and behind all of the class where it is of the rest.

    Memory: N K logits on their device (4 bytes each, as a run's logits are float32); ``compute`` takes
    12 bytes each on the host.

    Args:
        average: ``macro``: the plain mean over the classes; ``weighted``: by number of samples.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, average: str = "macro") -> None:
        super().__init__()
        self.num_classes, self.average = num_classes, average

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""
        self._keep(logits.detach().clone(), targets.clone())

    def compute(self) -> float | None:
        """The average; None where no class has a value."""
        areas, samples = self._areas()
        defined = [(area, n if self.average == "weighted" else 1) for area, n in zip(areas, samples, strict=True)]
        kept = [(area, weight) for area, weight in defined if area is not None]
        if not kept:
            return None
        return math.fsum(area * weight for area, weight in kept) / sum(weight for _, weight in kept)

    def compute_per_class(self) -> list[float | None]:
        """K areas; None for a class without samples, or with all of them."""
        return self._areas()[0]

    def _areas(self) -> tuple[list[float | None], list[int]]:
        """The area and the number of samples of each class."""
        kept = self._read()
        if not kept:
            return [None] * self.num_classes, [0] * self.num_classes
        logits, targets = kept[0], kept[1].numpy()
        scores = np.empty(logits.shape)
        for start in range(0, len(logits), _ROWS):
            # float64 first and by torch, as predictions are made: another softmax may order near ties otherwise
            scores[start : start + _ROWS] = logits[start : start + _ROWS].double().softmax(1).numpy()
        samples = np.bincount(targets, minlength=self.num_classes).tolist()
        return [_area(scores[:, k], targets == k) for k in range(self.num_classes)], samples


def _area(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """The share of pairs (positive, negative) in which the first has the higher score; None without pairs.

    Args:
        scores: [N] in [0, 1], or NaN.
        positive: [N].
    """
    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    if not pairs:
        return None
    scores = np.where(np.isnan(scores), np.where(positive, -2.0, -1.0), scores)
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    doubled = 2 * ends - sizes + 1  # twice the mean rank, from 1, of each group of equal scores
    wins = int(doubled[group[positive]].sum()) - positives * (positives + 1)  # twice the pairs won
    return wins / (2 * pairs)
