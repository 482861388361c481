"""Metrics against scikit-learn, and the laws of merging and grouping."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from clsfit_standard.metrics import F1, Accuracy, Precision, Recall
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score, recall_score
from torch import Tensor

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
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_accuracy_and_balanced_accuracy(seed: int, count: int) -> None:
    logits, targets = drawn(seed, count)
    truth, predicted = targets.numpy(), logits.argmax(1).numpy()
    assert value_of(Accuracy(), logits, targets) == accuracy_score(truth, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # y_pred has classes that y_true has not
        balanced = balanced_accuracy_score(truth, predicted)
    recalls = np.array([r for r, n in zip(*_recalls(logits, targets), strict=True) if n], dtype=float)
    assert recalls.mean() == pytest.approx(balanced, abs=1e-12)


def _recalls(logits: Tensor, targets: Tensor) -> tuple[list[float | None], list[int]]:
    metric = Recall(CLASSES)
    metric.update(logits, targets)
    return metric.compute_per_class(), torch.bincount(targets, minlength=CLASSES).tolist()


def fresh() -> list[Any]:
    return [Accuracy(), *(ours(CLASSES, a) for ours, _ in AVERAGED for a in ("macro", "micro", "weighted"))]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_grouping_changes_nothing(seed: int, sizes: list[int]) -> None:
    logits, targets = drawn(seed, sum(sizes))
    for whole, parts in zip(fresh(), fresh(), strict=True):
        assert value_of(whole, logits, targets) == value_of(parts, logits, targets, sizes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), first=st.integers(0, 20), second=st.integers(0, 20))
def test_merging_is_seeing_all(seed: int, first: int, second: int) -> None:
    logits, targets = drawn(seed, first + second)
    for whole, left, right in zip(fresh(), fresh(), fresh(), strict=True):
        left.update(logits[:first], targets[:first])
        right.update(logits[first:], targets[first:])
        left.merge(right)
        assert left.compute() == value_of(whole, logits, targets)


def test_nothing_seen_is_undefined() -> None:
    for metric in fresh():
        assert metric.compute() is None
        assert metric.higher_is_better is True
    assert F1(3).compute_per_class() == [None, None, None]


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


def test_state_is_attributes_of_json_and_tensors() -> None:
    logits, targets = drawn(7, 30)
    for metric, restored in zip(fresh(), fresh(), strict=True):
        metric.update(logits[:11], targets[:11])
        vars(restored).update(vars(metric))
        restored.update(logits[11:], targets[11:])
        metric.update(logits[11:], targets[11:])
        assert restored.compute() == metric.compute()
        assert all(isinstance(v, int | str | Tensor) for v in vars(metric).values())
