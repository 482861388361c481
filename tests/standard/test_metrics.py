"""Counts against scikit-learn, and the laws of grouping, merging and saving, which all metrics obey."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.metrics.counts import F1, Accuracy, BalancedAccuracy, Precision, Recall
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.metrics.ordered import MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError
from clsfit_standard.metrics.ranks import NDCG, MeanAveragePrecision, MeanReciprocalRank, TopK
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score, recall_score
from torch import Tensor

from clsfit.engine.state import attributes, flatten, restore_attributes, unflatten

AVERAGED = [(Precision, precision_score), (Recall, recall_score), (F1, f1_score)]
CLASSES = 6


def drawn(seed: int, count: int, present: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Logits [count, 6] that favour the truth, and targets [count] among the first ``present`` classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(present, (count,), generator=generator)
    logits = torch.randn(count, CLASSES, generator=generator)
    logits[torch.arange(count), targets] += 1.0
    return logits, targets


def value_of(metric: Any, logits: Tensor, targets: Tensor, sizes: list[int] | None = None) -> float | None:
    for x, y in zip(logits.split(sizes or len(logits)), targets.split(sizes or len(targets)), strict=True):
        metric.update(x, y)
    return metric.compute()


@pytest.mark.parametrize(("ours", "theirs"), AVERAGED)
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("zero_division", [0, 1])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), present=st.integers(1, CLASSES))
def test_equals_scikit_learn(
    ours: Any, theirs: Any, average: str, zero_division: int, seed: int, count: int, present: int
) -> None:
    logits, targets = drawn(seed, count, present)
    truth, predicted = targets.numpy(), logits.argmax(1).numpy()
    expected = theirs(truth, predicted, average=average, zero_division=zero_division)
    assert value_of(ours(CLASSES, average, zero_division), logits, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), AVERAGED)
@pytest.mark.parametrize("zero_division", [0, 1])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20), present=st.integers(1, CLASSES))
def test_per_class_equals_scikit_learn(
    ours: Any, theirs: Any, zero_division: int, seed: int, count: int, present: int
) -> None:
    logits, targets = drawn(seed, count, present)
    truth, predicted = targets.numpy(), logits.argmax(1).numpy()
    expected = theirs(truth, predicted, average=None, labels=range(CLASSES), zero_division=zero_division)
    metric = ours(CLASSES, "macro", zero_division)
    macro = value_of(metric, logits, targets)
    values = metric.compute_per_class()
    seen = set(truth) | set(predicted)
    assert [k for k, value in enumerate(values) if value is not None] == sorted(seen)
    for k in seen:
        assert values[k] == pytest.approx(expected[k], abs=1e-12)
    assert macro == pytest.approx(np.mean([value for value in values if value is not None]), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), present=st.integers(1, CLASSES))
def test_accuracy_and_balanced_accuracy(seed: int, count: int, present: int) -> None:
    logits, targets = drawn(seed, count, present)
    truth, predicted = targets.numpy(), logits.argmax(1).numpy()
    assert value_of(Accuracy(), logits, targets) == accuracy_score(truth, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # y_pred has classes that y_true has not
        expected = balanced_accuracy_score(truth, predicted)
        recalls = recall_score(truth, predicted, average=None, labels=range(CLASSES), zero_division=0)
    metric = BalancedAccuracy(CLASSES)
    assert value_of(metric, logits, targets) == pytest.approx(expected, abs=1e-12)
    occurs = set(truth)
    assert metric.compute_per_class() == [pytest.approx(recalls[k]) if k in occurs else None for k in range(CLASSES)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), times=st.integers(2, 9))
def test_balanced_accuracy_does_not_see_how_often_a_class_occurs(seed: int, times: int) -> None:
    logits, targets = drawn(seed, 30)
    again = torch.cat([torch.arange(30)] + (times - 1) * [(targets == targets[0]).nonzero()[:, 0]])
    balanced = value_of(BalancedAccuracy(CLASSES), logits, targets)
    assert value_of(BalancedAccuracy(CLASSES), logits[again], targets[again]) == balanced


def fresh() -> list[Any]:
    """One of every metric and average."""
    names = tuple(str(k / 3) for k in range(CLASSES))
    return [
        Accuracy(),
        *(ours(CLASSES, a) for ours, _ in AVERAGED for a in ("macro", "micro", "weighted")),
        BalancedAccuracy(CLASSES),
        TopK(CLASSES, 2),
        *(ours(CLASSES, k) for ours in (MeanReciprocalRank, NDCG, MeanAveragePrecision) for k in (None, 3)),
        *(ours(names) for ours in (MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError)),
        *(AUROC(CLASSES, average) for average in ("macro", "weighted")),
    ]


def all_values(metric: Any) -> list[float | None]:
    return [metric.compute(), *(metric.compute_per_class() if hasattr(metric, "compute_per_class") else ())]


def parted(seed: int, sizes: list[int]) -> Iterator[tuple[Any, Any, list[tuple[Tensor, Tensor]]]]:
    """Each metric that has seen all samples, a fresh one, and the samples in another order in parts."""
    logits, targets = drawn(seed, sum(sizes))
    logits[::5, 3] = float("nan")
    logits[1::5, 1:4] = 0.5
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    parts = list(zip(logits[order].split(sizes), targets[order].split(sizes), strict=True))
    for whole, other in zip(fresh(), fresh(), strict=True):
        whole.update(logits, targets)
        yield whole, other, parts


SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=SIZES)
def test_grouping_and_order_change_nothing(seed: int, sizes: list[int]) -> None:
    for whole, metric, parts in parted(seed, sizes):
        for part in parts:
            metric.update(*part)
        assert all_values(metric) == all_values(whole)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=SIZES, data=st.data())
def test_merging_in_any_order_is_seeing_all(seed: int, sizes: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(sizes))))
    for whole, metric, parts in parted(seed, sizes):
        for i in order:
            other = another(metric)
            other.update(*parts[i])
            metric.merge(other)
        assert all_values(metric) == all_values(whole)


def another(metric: Any) -> Any:
    """A fresh metric with the options of ``metric``."""
    return next(m for m in fresh() if type(m) is type(metric) and options(m) == options(metric))


def options(metric: Any) -> list[Any]:
    return [getattr(metric, name, None) for name in ("average", "zero_division", "k")]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=SIZES, cut=st.integers(0, 6))
def test_saving_in_between_changes_nothing(seed: int, sizes: list[int], cut: int) -> None:
    """As a checkpoint inside an epoch saves them: JSON values and tensors."""
    for whole, metric, parts in parted(seed, sizes):
        for part in parts[:cut]:
            metric.update(*part)
        tensors: dict[str, Tensor] = {}
        state = unflatten(flatten(attributes(metric), "metric", tensors), tensors)
        restored = another(metric)
        restore_attributes(restored, state, torch.device("cpu"))
        for part in parts[cut:]:
            restored.update(*part)
        assert all_values(restored) == all_values(whole)


def test_nothing_seen_is_undefined() -> None:
    for metric in fresh():
        assert set(all_values(metric)) == {None}
        metric.update(torch.zeros(0, CLASSES), torch.zeros(0, dtype=torch.int64))
        assert set(all_values(metric)) == {None}


def test_errors_are_good_when_low() -> None:
    low = {type(metric).__name__ for metric in fresh() if metric.higher_is_better is False}
    assert low == {"MeanAbsoluteError", "MeanSquaredError", "RootMeanSquaredError"}


def test_update_reads_no_value() -> None:
    """On the meta device there are shapes but no values: whatever would wait for one raises."""
    logits, targets = drawn(1, 9)
    for metric in fresh():
        metric.update(logits.to("meta"), targets.to("meta"))
        metric.update(logits.to("meta"), targets.to("meta"))
        parts = getattr(metric, "_parts", [])
        tensors = [value for value in vars(metric).values() if isinstance(value, Tensor)]
        assert {t.device.type for t in tensors + [t for part in parts for t in part]} == {"meta"}
    for wait in (Tensor.nonzero, Tensor.item, Tensor.tolist):
        with pytest.raises((NotImplementedError, RuntimeError)):
            wait(torch.zeros(1, device="meta"))


def test_what_is_kept_is_nobody_else_s() -> None:
    """A caller may write its next batch into the same memory."""
    logits, targets = drawn(2, 20)
    for whole, metric in zip(fresh(), fresh(), strict=True):
        whole.update(logits, targets)
        buffer = logits.clone(), targets.clone()
        metric.update(*buffer)
        for tensor in buffer:
            tensor.zero_()
        assert all_values(metric) == all_values(whole)


def test_no_graph_is_kept() -> None:
    logits, targets = drawn(3, 8)
    for metric in fresh():
        metric.update(logits.requires_grad_(), targets)
        parts = getattr(metric, "_parts", [])
        tensors = [value for value in vars(metric).values() if isinstance(value, Tensor)]
        assert not any(t.requires_grad for t in tensors + [t for part in parts for t in part])


def test_perfect_predictions_on_two_of_ten_classes_are_perfect() -> None:
    targets = torch.tensor([0, 1, 1, 0])
    for metric in (Precision(10), Recall(10), F1(10)):
        assert value_of(metric, torch.eye(10)[targets], targets) == 1.0


@pytest.mark.parametrize(("ours", "theirs"), AVERAGED)
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_nan_is_wrong_and_no_false_alarm(ours: Any, theirs: Any, average: str) -> None:
    """As scikit-learn sees predictions of a class outside the labels."""
    logits, targets = drawn(5, 60)
    logits[::4, 2] = float("nan")
    logits[1::4] = float("nan")
    predicted = logits.argmax(1)
    predicted[logits.isnan().any(1)] = CLASSES
    expected = theirs(targets, predicted, average=average, labels=range(CLASSES), zero_division=0)
    assert value_of(ours(CLASSES, average), logits, targets) == pytest.approx(expected, abs=1e-12)
    assert value_of(Accuracy(), logits, targets) == accuracy_score(targets, predicted)


def test_accuracy_of_nan_at_the_target_is_0() -> None:
    assert value_of(Accuracy(), torch.tensor([[float("nan"), 0.0]]), torch.tensor([0])) == 0.0


def test_half_precision_and_many_classes() -> None:
    targets = torch.arange(10_000)
    metric = F1(10_000)
    metric.update(torch.eye(10_000, dtype=torch.bfloat16)[:500], targets[:500])
    assert metric.compute() == 1.0
    assert metric.counts.numel() < 40_000
    assert metric.counts.dtype == torch.int64
