"""The metrics on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(eq=False, repr=False)
class AverageOptions:
    average: Annotated[
        Literal["macro", "micro", "weighted"],
        "over classes equally, over all samples at once, or over classes by their number of samples",
    ] = "macro"
    zero_division: Annotated[int, "value where the denominator is 0: 0 or 1", Ge(0), Le(1)] = 0


@dataclass(eq=False, repr=False)
class TopKOptions:
    k: Annotated[int, "how many of a picture's classes count; more than there are count as all", Ge(1)] = 5


@dataclass(eq=False, repr=False)
class RankOptions:
    k: Annotated[int | None, "ranks beyond it count 0; none: all count", Ge(1)] = None


@dataclass(eq=False, repr=False)
class OrderOptions:
    order: Annotated[
        tuple[str, ...] | None,
        "all classes from lowest to highest, whose values are then 0, 1, ...; none: class names are numbers",
    ] = None


@dataclass(eq=False, repr=False)
class AUROCOptions:
    average: Annotated[Literal["macro", "weighted"], "over classes equally, or by their number of samples"] = "macro"


_COUNTS = "clsfit_standard.metrics.counts:"
_RANKS = "clsfit_standard.metrics.ranks:"
_ORDERED = "clsfit_standard.metrics.ordered:"

COMPONENTS = (
    Component("accuracy", _COUNTS + "Accuracy", "share of samples that are right", NoOptions),
    Component("precision", _COUNTS + "Precision", "right ones among those predicted as a class", AverageOptions),
    Component("recall", _COUNTS + "Recall", "found ones among those of a class", AverageOptions),
    Component(
        "f1",
        _COUNTS + "F1",
        "harmonic mean of precision and recall",
        AverageOptions,
        "https://arxiv.org/abs/1911.03347",
    ),
    Component(
        "balanced_accuracy",
        _COUNTS + "BalancedAccuracy",
        "mean recall of the classes that occur",
        NoOptions,
        "https://doi.org/10.1109/ICPR.2010.764",
    ),
    Component("top_k", _RANKS + "TopK", "share of samples whose class is among the k highest", TopKOptions),
    Component(
        "mrr",
        _RANKS + "MeanReciprocalRank",
        "mean of 1 / rank of the true class",
        RankOptions,
        "https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf",
    ),
    Component(
        "ndcg",
        _RANKS + "NDCG",
        "mean of 1 / log2(rank + 1) of the true class",
        RankOptions,
        "https://doi.org/10.1145/582415.582418",
    ),
    Component(
        "map",
        _RANKS + "MeanAveragePrecision",
        "mean average precision of each picture's ranking: with one label the same as mrr; not detection's mAP",
        RankOptions,
    ),
    Component("mae", _ORDERED + "MeanAbsoluteError", "mean absolute error on ordered classes", OrderOptions),
    Component("mse", _ORDERED + "MeanSquaredError", "mean squared error on ordered classes", OrderOptions),
    Component("rmse", _ORDERED + "RootMeanSquaredError", "root mean squared error on ordered classes", OrderOptions),
    Component(
        "auroc",
        "clsfit_standard.metrics.curves:AUROC",
        "area under the ROC curve, each class against the rest; keeps all logits, 4 K bytes per sample",
        AUROCOptions,
        "https://doi.org/10.1016/j.patrec.2005.10.010",
    ),
)
