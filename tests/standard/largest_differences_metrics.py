"""Prints the largest absolute difference of each metric from an independent oracle.

Run it with ``python tests/standard/largest_differences_metrics.py``. Cases are random: 2 to 20 classes,
some of them absent, with and without ties; each is fed in uneven batches. Where scikit-learn has
no rule for ties, or none for absent classes, the oracle is plain Python.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk
import torch
from clsfit_standard.metrics import counts, curves, ordered, ranks

from clsfit.model import ranked

CASES = 400


@dataclass
class Case:
    """Logits [N, K] and targets [N], with what oracles need of them."""

    logits: torch.Tensor
    targets: torch.Tensor
    ties: bool
    order: tuple[str, ...]

    def __post_init__(self) -> None:
        self.classes = self.logits.shape[1]
        self.names = tuple(str(k) for k in range(self.classes))
        self.truth = self.targets.numpy()
        self.predicted = self.logits.argmax(1).numpy()
        self.one_hot = np.eye(self.classes)[self.truth]
        self.place = np.array([self.order.index(name) for name in self.names])
        self.probabilities = np.array(ranked(self.logits)[1])
        rows = zip(self.logits.tolist(), self.truth.tolist(), strict=True)
        self.ranks = [sorted(range(len(row)), key=row.__getitem__, reverse=True).index(t) + 1 for row, t in rows]


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(20)
    for number in range(CASES):
        classes, samples = int(rng.integers(2, 21)), int(rng.integers(20, 200))
        present = rng.choice(classes, int(rng.integers(2, classes + 1)), replace=False)
        truth = rng.choice(present, samples)
        logits = rng.normal(size=(samples, classes)) * rng.choice([0.3, 1, 5])
        logits[np.arange(samples), truth] += 1
        ties = number % 2 == 0
        logits = np.round(logits * 2) / 2 if ties else logits
        order = tuple(str(k) for k in rng.permutation(classes))
        yield Case(torch.from_numpy(logits).float(), torch.from_numpy(truth), ties, order)


def mean_gain(gain: Callable[[int], float], k: int | None = None) -> Callable[[Case], float]:
    return lambda c: sum(gain(r) if k is None or r <= k else 0.0 for r in c.ranks) / len(c.ranks)


def areas(c: Case) -> tuple[list[float], list[int]]:
    """scikit-learn's binary area of every class that occurs, and its number of samples."""
    present = sorted(set(c.truth.tolist()))
    return (
        [float(sk.roc_auc_score(c.truth == k, c.probabilities[:, k])) for k in present],
        [int((c.truth == k).sum()) for k in present],
    )


def weighted(values: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    return float(np.average(values, weights=weights))


def no_ties(c: Case) -> bool:
    return not c.ties


def all_present(c: Case) -> bool:
    return 2 < c.classes == len(set(c.truth.tolist()))


def averaged(score: Any, average: str) -> Callable[[Case], float]:
    return lambda c: score(c.truth, c.predicted, average=average, zero_division=0)


ALWAYS: Callable[[Case], bool] = lambda c: True  # noqa: E731 - a line of the table below
TABLE: list[tuple[str, str, Callable[[Case], Any], Callable[[Case], float], Callable[[Case], bool]]] = [
    (
        "accuracy",
        "accuracy_score",
        lambda c: counts.Accuracy(),
        lambda c: sk.accuracy_score(c.truth, c.predicted),
        ALWAYS,
    ),
    (
        "balanced_accuracy",
        "balanced_accuracy_score",
        lambda c: counts.BalancedAccuracy(c.classes),
        lambda c: sk.balanced_accuracy_score(c.truth, c.predicted),
        ALWAYS,
    ),
    (
        "top_k, k=5",
        "top_k_accuracy_score",
        lambda c: ranks.TopK(c.classes),
        lambda c: sk.top_k_accuracy_score(c.truth, c.logits, k=5, labels=range(c.classes)),
        lambda c: no_ties(c) and c.classes > 2,
    ),
    (
        "top_k, k=3, ties",
        "plain Python",
        lambda c: ranks.TopK(c.classes, 3),
        mean_gain(lambda r: 1.0, 3),
        ALWAYS,
    ),
    (
        "mrr",
        "label_ranking_average_precision_score",
        lambda c: ranks.MeanReciprocalRank(c.classes),
        lambda c: sk.label_ranking_average_precision_score(c.one_hot, c.logits),
        no_ties,
    ),
    (
        "mrr, ties",
        "plain Python",
        lambda c: ranks.MeanReciprocalRank(c.classes),
        mean_gain(lambda r: 1 / r),
        ALWAYS,
    ),
    (
        "map",
        "label_ranking_average_precision_score",
        lambda c: ranks.MeanAveragePrecision(c.classes),
        lambda c: sk.label_ranking_average_precision_score(c.one_hot, c.logits),
        no_ties,
    ),
    (
        "ndcg",
        "ndcg_score",
        lambda c: ranks.NDCG(c.classes),
        lambda c: sk.ndcg_score(c.one_hot, c.logits),
        no_ties,
    ),
    (
        "ndcg, k=3, ties",
        "plain Python",
        lambda c: ranks.NDCG(c.classes, 3),
        mean_gain(lambda r: 1 / math.log2(r + 1), 3),
        ALWAYS,
    ),
    (
        "mae",
        "mean_absolute_error",
        lambda c: ordered.MeanAbsoluteError(c.names, c.order),
        lambda c: sk.mean_absolute_error(c.place[c.truth], c.place[c.predicted]),
        ALWAYS,
    ),
    (
        "mse",
        "mean_squared_error",
        lambda c: ordered.MeanSquaredError(c.names, c.order),
        lambda c: sk.mean_squared_error(c.place[c.truth], c.place[c.predicted]),
        ALWAYS,
    ),
    (
        "rmse",
        "root_mean_squared_error",
        lambda c: ordered.RootMeanSquaredError(c.names, c.order),
        lambda c: sk.root_mean_squared_error(c.place[c.truth], c.place[c.predicted]),
        ALWAYS,
    ),
    (
        "auroc, macro",
        "roc_auc_score, multi_class=ovr",
        lambda c: curves.AUROC(c.classes),
        lambda c: sk.roc_auc_score(c.truth, c.probabilities, multi_class="ovr"),
        all_present,
    ),
    (
        "auroc, weighted",
        "roc_auc_score, multi_class=ovr",
        lambda c: curves.AUROC(c.classes, "weighted"),
        lambda c: sk.roc_auc_score(c.truth, c.probabilities, multi_class="ovr", average="weighted"),
        all_present,
    ),
    (
        "auroc, macro, absent classes",
        "mean of binary roc_auc_score",
        lambda c: curves.AUROC(c.classes),
        lambda c: float(np.mean(areas(c)[0])),
        ALWAYS,
    ),
    (
        "auroc, weighted, absent classes",
        "mean of binary roc_auc_score",
        lambda c: curves.AUROC(c.classes, "weighted"),
        lambda c: weighted(*areas(c)),
        ALWAYS,
    ),
]
for _name, _ours, _theirs in (
    ("precision", counts.Precision, sk.precision_score),
    ("recall", counts.Recall, sk.recall_score),
    ("f1", counts.F1, sk.f1_score),
):
    for _average in ("macro", "micro", "weighted"):
        TABLE.append(
            (
                f"{_name}, {_average}",
                f"{_name}_score",
                lambda c, ours=_ours, average=_average: ours(c.classes, average),
                averaged(_theirs, _average),
                ALWAYS,
            )
        )


def main() -> None:
    largest: dict[str, float] = defaultdict(float)
    seen: dict[str, int] = defaultdict(int)
    warnings.simplefilter("ignore")  # scikit-learn's, of classes that are absent
    for case in cases():
        for name, _, make, oracle, fits in TABLE:
            if not fits(case):
                continue
            metric = make(case)
            for start in range(0, len(case.targets), 7):
                metric.update(case.logits[start : start + 7], case.targets[start : start + 7])
            largest[name] = max(largest[name], abs(metric.compute() - oracle(case)))
            seen[name] += 1
    print(f"{'metric':<32} {'oracle':<38} {'cases':>5}  largest difference")
    for name, oracle_name, *_ in TABLE:
        print(f"{name:<32} {oracle_name:<38} {seen[name]:>5}  {largest[name]:.1e}")


if __name__ == "__main__":
    main()
