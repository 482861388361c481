"""Ranks, ordered errors and ROC areas against scikit-learn, and with ties against plain Python."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.metrics.counts import Accuracy
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.metrics.ordered import MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError
from clsfit_standard.metrics.ranks import NDCG, MeanAveragePrecision, MeanReciprocalRank, TopK
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    label_ranking_average_precision_score,
    mean_absolute_error,
    mean_squared_error,
    ndcg_score,
    roc_auc_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)
from torch import Tensor

from clsfit.errors import ConfigError
from clsfit.model import ranked

SEEDS = st.integers(0, 2**32)
NAN = float("nan")


def case(
    seed: int, count: int = 40, classes: int = 5, *, ties: bool = False, present: int = 0
) -> tuple[Tensor, Tensor]:
    """Logits [count, classes] and targets [count]; every one of the first ``present`` classes occurs."""
    generator = torch.Generator().manual_seed(seed)
    present = present or classes
    targets = torch.randint(present, (count,), generator=generator)
    targets[:present] = torch.arange(present)[:count]
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), targets] += 1.0
    return (logits * 2).round() / 2 if ties else logits, targets


def value_of(metric: Any, logits: Tensor, targets: Tensor) -> Any:
    metric.update(logits, targets)
    return metric.compute()


def python_ranks(logits: Tensor, targets: Tensor) -> list[int]:
    """By Python's stable sort."""
    rows = zip(logits.tolist(), targets.tolist(), strict=True)
    return [sorted(range(len(row)), key=lambda k: -row[k]).index(target) + 1 for row, target in rows]


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(3, 12), st.integers(1, 14), st.booleans())
def test_ranks_equal_plain_python(seed: int, classes: int, k: int, ties: bool) -> None:
    logits, targets = case(seed, 30, classes, ties=ties, present=classes - 1)
    ranks = python_ranks(logits, targets)
    for limit in (None, k):
        last = limit or classes
        for ours, gain in (
            (MeanReciprocalRank, lambda r: 1 / r),
            (MeanAveragePrecision, lambda r: 1 / r),
            (NDCG, lambda r: 1 / math.log2(r + 1)),
        ):
            gains = [gain(r) if r <= last else 0.0 for r in ranks]
            metric = ours(classes, limit)
            assert value_of(metric, logits, targets) == pytest.approx(math.fsum(gains) / 30, abs=1e-14)
            for c, value in enumerate(metric.compute_per_class()):
                own = [g for g, t in zip(gains, targets.tolist(), strict=True) if t == c]
                assert value == (pytest.approx(math.fsum(own) / len(own), abs=1e-14) if own else None)
    top = TopK(classes, k)
    assert value_of(top, logits, targets) == sum(r <= k for r in ranks) / 30
    for c, value in enumerate(top.compute_per_class()):
        own = [r <= k for r, t in zip(ranks, targets.tolist(), strict=True) if t == c]
        assert value == (sum(own) / len(own) if own else None)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(3, 12), st.integers(1, 11))
def test_ranks_equal_scikit_learn(seed: int, classes: int, k: int) -> None:
    logits, targets = case(seed, classes=classes)
    truth, scores = torch.eye(classes)[targets].numpy(), logits.numpy()
    expected = label_ranking_average_precision_score(truth, scores)
    assert value_of(MeanReciprocalRank(classes), logits, targets) == pytest.approx(expected, abs=1e-12)
    assert value_of(NDCG(classes), logits, targets) == pytest.approx(ndcg_score(truth, scores), abs=1e-12)
    assert value_of(NDCG(classes, k), logits, targets) == pytest.approx(ndcg_score(truth, scores, k=k), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k of K or more
        expected = top_k_accuracy_score(targets, scores, k=k, labels=range(classes))
    assert value_of(TopK(classes, k), logits, targets) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.booleans())
def test_laws_of_ranks(seed: int, ties: bool) -> None:
    logits, targets = case(seed, classes=7, ties=ties)
    shares = [value_of(TopK(7, k), logits, targets) for k in range(1, 9)]
    assert shares == sorted(shares)
    assert shares[6:] == [1.0, 1.0], "more than there are count as all"
    assert shares[0] == value_of(Accuracy(), logits, targets), "the class that is predicted has rank 1"
    mrr, ndcg = value_of(MeanReciprocalRank(7), logits, targets), value_of(NDCG(7), logits, targets)
    assert shares[0] <= mrr <= ndcg <= 1
    assert mrr <= (1 + shares[0]) / 2, "what is not first counts a half at most"
    assert value_of(MeanReciprocalRank(7, 1), logits, targets) == shares[0]
    assert value_of(MeanAveragePrecision(7), logits, targets) == mrr


def test_without_a_rank_a_sample_counts_0() -> None:
    logits, targets = torch.tensor([[1.0, NAN, 0.0], [3.0, 2.0, 1.0]]), torch.tensor([0, 1])
    assert value_of(TopK(3, 3), logits, targets) == 0.5
    assert value_of(MeanReciprocalRank(3), logits, targets) == 0.25
    assert value_of(NDCG(3, 9), logits, targets) == pytest.approx(0.5 / math.log2(3))
    infinite = torch.tensor([[math.inf, -math.inf, -math.inf]] * 3)
    assert value_of(MeanReciprocalRank(3), infinite, torch.arange(3)) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_ten_thousand_classes_are_small() -> None:
    metric = MeanReciprocalRank(10_000)
    targets = torch.arange(64) * 150
    metric.update(torch.zeros(64, 10_000, dtype=torch.bfloat16), targets)
    (kept,) = metric._parts
    assert sum(column.nbytes for column in kept) == 64 * 8
    assert metric.compute() == pytest.approx(sum(1 / (t + 1) for t in targets.tolist()) / 64)
    assert metric.compute_per_class()[9449:9451] == [None, 1 / 9451]


ERRORS = [
    (MeanAbsoluteError, mean_absolute_error),
    (MeanSquaredError, mean_squared_error),
    (RootMeanSquaredError, root_mean_squared_error),
]


@pytest.mark.parametrize(("ours", "theirs"), ERRORS)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, data=st.data())
def test_errors_equal_scikit_learn(ours: Any, theirs: Any, seed: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(-999, 999), min_size=2, max_size=12, unique=True))
    names = tuple(str(n / 8) for n in numbers)
    logits, targets = case(seed, 30, len(names), ties=True, present=len(names) - 1)
    order = tuple(data.draw(st.permutations(names)))
    for given_order, value in ((None, [n / 8 for n in numbers]), (order, [order.index(name) for name in names])):
        values = np.array(value)
        truth, predicted = values[targets], values[logits.argmax(1)]
        metric = ours(names, given_order)
        assert value_of(metric, logits, targets) == pytest.approx(theirs(truth, predicted), rel=1e-13, abs=1e-13)
        for k, found in enumerate(metric.compute_per_class()):
            own = (targets == k).numpy()
            expected = pytest.approx(theirs(truth[own], predicted[own]), rel=1e-13, abs=1e-13) if own.any() else None
            assert found == expected


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.permutations(("xs", "s", "m", "l", "xl")))
def test_laws_of_errors(seed: int, order: list[str]) -> None:
    logits, targets = case(seed)
    names = ("l", "m", "s", "xl", "xs")
    mae, mse, rmse = (value_of(ours(names, tuple(order)), logits, targets) for ours, _ in ERRORS)
    assert 0 <= mae <= rmse <= 4
    assert rmse == math.sqrt(mse)
    assert value_of(MeanAbsoluteError(names, tuple(order[::-1])), logits, targets) == mae
    assert value_of(MeanAbsoluteError(names, tuple(order)), torch.eye(5)[targets], targets) == 0.0


def test_without_a_prediction_a_sample_is_as_far_as_can_be() -> None:
    logits = torch.tensor([[0.0, NAN, 0.0]] * 3)
    metric = MeanAbsoluteError(("-1", "2", "7.5"))
    assert value_of(metric, logits, torch.arange(3)) == (8.5 + 5.5 + 8.5) / 3
    assert metric.compute_per_class() == [8.5, 5.5, 8.5]


@pytest.mark.parametrize(
    ("names", "order", "said"),
    [
        (("low", "2", "mid"), None, "not all names are numbers: low, mid"),
        (("1_0", "2"), None, "not all names are numbers: 1_0"),
        (("nan", "inf", "1e999"), None, "are numbers: nan, inf, 1e999"),
        (("\u0663", "2"), None, "are numbers: \u0663"),
        (("high", "low", "mid"), ("low", "midd", "high"), "unknown midd (did you mean 'mid'?); missing mid"),
        (("high", "low"), ("low",), "once: missing high"),
        (("high", "low"), ("low", "high", "low"), "once: more than once low"),
        (("1", "2"), ("1", "2", "x\n"), r"once: unknown x\n"),
    ],
)
def test_a_wrong_order_is_explained(names: tuple[str, ...], order: tuple[str, ...] | None, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        RootMeanSquaredError(names, order)
    assert caught.value.where == "option --metric.rmse.order"
    assert "from lowest to highest" in caught.value.remedy
    assert len(str(caught.value).splitlines()) == 3


def test_an_order_counts_before_numbers() -> None:
    logits, targets = torch.eye(3)[[0]], torch.tensor([2])
    assert value_of(MeanAbsoluteError(("1", "10", "100")), logits, targets) == 99
    assert value_of(MeanAbsoluteError(("1", "10", "100"), ("1", "100", "10")), logits, targets) == 1


def saved(logits: Tensor, batch: int = 7) -> np.ndarray[Any, Any]:
    """The probabilities that clsfit writes, batch by batch."""
    return np.array([p for part in logits.split(batch) for p in ranked(part)[1]])


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(3, 9), st.booleans())
def test_auroc_equals_scikit_learn_on_the_saved_predictions(seed: int, classes: int, ties: bool) -> None:
    logits, targets = case(seed, classes=classes, ties=ties)
    probabilities = saved(logits)
    for average in ("macro", "weighted"):
        expected = roc_auc_score(targets, probabilities, multi_class="ovr", average=average)
        assert value_of(AUROC(classes, average), logits, targets) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 25), st.sampled_from([1.0, 40.0]))
def test_auroc_per_class_is_the_share_of_pairs(seed: int, present: int, count: int, scale: float) -> None:
    """With a large scale probabilities saturate, and are equal where logits are not."""
    logits, targets = case(seed, count, 4, ties=True, present=present)
    metric = AUROC(4)
    average = value_of(metric, logits * scale, targets)
    rows = list(zip(saved(logits * scale).tolist(), targets.tolist(), strict=True))
    expected = []
    for k in range(4):
        pairs = [(p[k] > q[k]) + (p[k] == q[k]) / 2 for p, t in rows if t == k for q, u in rows if u != k]
        expected.append(sum(pairs) / len(pairs) if pairs else None)
    assert metric.compute_per_class() == expected
    defined = [value for value in expected if value is not None]
    assert average == (pytest.approx(sum(defined) / len(defined), abs=1e-14) if defined else None)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([1.0, 40.0]))
def test_auroc_of_two_classes(seed: int, scale: float) -> None:
    logits, targets = case(seed, classes=2)
    metric = AUROC(2)
    both = value_of(metric, logits * scale, targets)
    first, second = (value or 0.0 for value in metric.compute_per_class())
    probabilities = saved(logits * scale)
    assert second == pytest.approx(roc_auc_score(targets, probabilities[:, 1]), abs=1e-12)
    assert first == pytest.approx(roc_auc_score(1 - targets, probabilities[:, 0]), abs=1e-12)
    assert both == (first + second) / 2


def test_auroc_leaves_out_what_has_no_curve() -> None:
    logits, targets = torch.tensor([[2.0, 1, 0], [0, 1, 0], [1, 0, 0]]), torch.tensor([0, 1, 0])
    for average in ("macro", "weighted"):
        metric = AUROC(3, average)
        assert value_of(metric, logits, targets) == 1.0
        assert metric.compute_per_class() == [1.0, 1.0, None]
    metric = AUROC(3)
    assert value_of(metric, logits, torch.ones(3, dtype=torch.int64)) is None
    assert metric.compute_per_class() == [None, None, None]


def test_auroc_of_nan_is_worst_for_its_own_class_alone() -> None:
    logits, targets = torch.tensor([[2.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 2]]), torch.tensor([0, 0, 1, 2])
    logits[1, 2] = NAN
    metric = AUROC(3)
    metric.update(logits, targets)
    assert metric.compute_per_class() == [0.5, 1.0, 1.0]
    assert value_of(AUROC(2), torch.full((4, 2), NAN), torch.tensor([0, 1, 0, 1])) == 0.0
