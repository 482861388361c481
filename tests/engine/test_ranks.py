"""Sums and scores of several ranks are those of one process; a process alone asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from clsfit.engine.ranks import Alone
from clsfit.pipeline.batches import Window

Team = Callable[..., list[Any]]

METRICS: dict[str, dict[str, Any]] = {
    "accuracy": {},
    "precision": {"average": "weighted"},
    "recall": {},
    "f1": {},
    "balanced_accuracy": {},
    "top_k": {"k": 2},
    "mrr": {},
    "ndcg": {"k": 3},
    "map": {},
    "mae": {},
    "mse": {},
    "rmse": {},
    "auroc": {},
}
COUNT, VALUES = 10_000, np.array([0, 1, 2.5, 4, 7])


@pytest.fixture(scope="module")
def alone(team: Team) -> dict[str, Any]:
    """What one process finds in 10,000 predictions."""
    (found,) = team("rank_sums.measure", 1, metrics=METRICS, count=COUNT, cuts=[0, COUNT], batch_size=256)
    return dict(found)


@pytest.mark.parametrize("cuts", [[0, 7001], [0, 0, 3], [0, 9990, 9990], [0, 4000, 4000, 9999]], ids=str)
def test_every_bundled_metric_of_uneven_parts(team: Team, alone: dict[str, Any], cuts: list[int]) -> None:
    cuts = [*cuts, COUNT]
    ranks = team("rank_sums.measure", len(cuts) - 1, metrics=METRICS, count=COUNT, cuts=cuts, batch_size=256)
    for found in ranks:
        assert found["samples"] == COUNT
        for name in METRICS:
            assert found["scores"][name] == alone["scores"][name], name
        assert found["per_class"] == alone["per_class"]
        assert found["scores"]["loss"] == pytest.approx(alone["scores"]["loss"], rel=1e-6)


def test_those_of_one_process_are_scikit_learn_s(alone: dict[str, Any], rank_sums: Any) -> None:
    logits, targets = (tensor.numpy() for tensor in rank_sums.predictions(COUNT, 5))
    found, chances = logits.argmax(1), torch.from_numpy(logits).double().softmax(1).numpy()
    rank = 1 + (logits > logits[np.arange(COUNT), targets][:, None]).sum(1)
    distance = np.abs(VALUES[found] - VALUES[targets])
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(targets, found),
        "precision": sklearn.metrics.precision_score(targets, found, average="weighted"),
        "recall": sklearn.metrics.recall_score(targets, found, average="macro"),
        "f1": sklearn.metrics.f1_score(targets, found, average="macro"),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(targets, found),
        "auroc": sklearn.metrics.roc_auc_score(targets, chances, multi_class="ovr"),
        "mae": distance.mean(),
        "mse": (distance**2).mean(),
        "rmse": (distance**2).mean() ** 0.5,
    }
    for name, value in expected.items():
        assert alone["scores"][name] == pytest.approx(value, abs=1e-12), name
    assert alone["scores"]["mrr"] <= (1 / rank).mean()  # of equal logits the true one may not be the first
    assert set(METRICS) - set(expected) == {"top_k", "mrr", "ndcg", "map"}  # tests/standard knows these


def test_the_bundled_metrics_are_all_here(rank_sums: Any) -> None:
    assert set(METRICS) == {offer.name for offer in rank_sums.METRICS}


@pytest.mark.parametrize("world", [2, 3, 4])
def test_counts_of_any_number_of_pictures_equal_those_of_one_process(team: Team, world: int) -> None:
    (expected,) = team("rank_sums.count_all", 1, most=40, batch_sizes=[1, 7])
    assert [row[2] for row in expected] == [*range(1, 41)] * 2
    for found in team("rank_sums.count_all", world, most=40, batch_sizes=[1, 7]):
        assert found == expected


def test_large_and_empty_blobs_arrive_whole(team: Team) -> None:
    ranks = team("rank_sums.exchange", 3)
    assert ranks == [ranks[0]] * 3
    assert ranks[0]["sizes"] == [0, 100_003, 200_006]
    assert ranks[0]["sent"] == ranks[0]["whole"]
    assert ranks[0]["nothing"] is None
    assert ranks[0]["alike"] == [True, False, False]


def test_all_begin_with_what_rank_0_has_of_any_kind(team: Team) -> None:
    first, *others = team("rank_sums.level", 2)
    assert first.pop("wide") == [0.0] * 6
    assert {*map(tuple, first.values())} == {(), (1.0,), (1.0,) * 6}
    for other in others:
        assert other.pop("wide") == [0.0] * 6
        assert other == first


def test_buffers_are_averaged_by_samples(team: Team) -> None:
    for found in team("rank_sums.average", 3):  # of 6, 2 and no samples
        assert found["mean"] == [(6 * 1.0 + 2 * 5.0) / 8] * 2
        assert found["count"] == round((6 * 10 + 2 * 11) / 8)
        assert found["flag"] is True
        assert found["turn"] == [[1.0, 2.0], [3.5, -1.0]]
        assert found["gradients"] == {"all": 6.0, "one": 2.0, "none": None}
        assert found["loss"] == 1.0 + 2.0


def test_alone_nothing_changes() -> None:
    ranks: Any = Alone()
    bounds, sums, saved = [(0, 3), (3, 5)], object(), object()
    windows = [Window(bounds, 5)]
    assert (ranks.rank, ranks.world_size, ranks.share, ranks.reducer(None)) == (0, 1, None, None)
    assert ranks.seed(7) == 7
    assert ranks.own(windows) is windows
    assert ranks.turns(bounds) == bounds
    assert ranks.merged(sums, None) is sums
    assert ranks.same(saved) is saved
    assert ranks.alike("anything")


@pytest.mark.parametrize(
    "asked", [{}, {"interrupt": 15}, {"save_told": True}, {"save_due": True}, {"stop_reason": "x"}]
)
def test_alone_one_agrees_with_oneself_at_once(asked: dict[str, Any]) -> None:
    nothing = {"interrupt": 0, "leaving": 0, "save_told": False, "save_due": False, "stop_reason": ""}
    run: Any = SimpleNamespace(**nothing | asked)
    assert Alone().agreed(run) is bool(asked)
    assert run.leaving == asked.get("interrupt", 0)
    assert run.save_due is bool(asked.get("save_told") or asked.get("save_due"))
    assert run.stop_reason == asked.get("stop_reason", "")
