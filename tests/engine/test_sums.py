"""Sums over samples do not depend on how samples come in batches, nor on an interruption."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clsfit
from clsfit.engine.sums import Sums, undefined_notes


class Right:
    higher_is_better = True

    def __init__(self) -> None:
        self.right = torch.zeros((), dtype=torch.int64)
        self.seen = 0

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        self.right += (logits.argmax(1) == targets).sum()
        self.seen += len(targets)

    def merge(self, other: Right) -> None:
        self.right += other.right
        self.seen += other.seen

    def compute(self) -> float | None:
        return self.right.item() / self.seen if self.seen else None


LOGITS = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(1))
LOSSES = torch.nn.functional.cross_entropy(LOGITS, TARGETS, reduction="none").double()


def added(sums: Sums, cuts: list[int]) -> Sums:
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            sums.add(LOGITS[start:stop], TARGETS[start:stop], LOSSES[start:stop].sum())
    return sums


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=60), st.integers(0, 300))
def test_grouping_and_interruption_change_nothing(cuts: list[int], pause: int) -> None:
    whole = added(Sums({"right": Right()}), [0, 300]).scores("train/")
    before = added(Sums({"right": Right()}), sorted({0, pause, *(c for c in cuts if c < pause)}))
    after = Sums({"right": Right()})
    after.load_state_dict(before.state_dict(), torch.device("cpu"))
    scores = added(after, sorted({pause, 300, *(c for c in cuts if c > pause)})).scores("train/")
    assert scores["train/right"] == whole["train/right"] == (LOGITS.argmax(1) == TARGETS).double().mean().item()
    assert math.isclose(scores["train/loss"] or 0, whole["train/loss"] or 0, rel_tol=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=20), st.lists(st.integers(0, 300), max_size=3), st.booleans())
def test_merged_parts_are_the_whole(cuts: list[int], ends: list[int], counted: bool) -> None:
    """Of the same batches, to the bit: in any order, also of parts that are not counted yet, or have nothing."""
    cuts, ends = sorted({0, 300, *cuts}), sorted({0, 300, *ends})
    ends = [max(cut for cut in cuts if cut <= end) for end in ends]
    whole = added(Sums({"right": Right()}), cuts)
    parts = [
        added(Sums({"right": Right()}), [cut for cut in cuts if first <= cut <= last])
        for first, last in itertools.pairwise(ends)
    ]
    merged = Sums({"right": Right()})
    for each in reversed([Sums({"right": Right()}), *parts]):
        if counted:
            each.scores()
        merged.merge(each)
    assert merged.samples == whole.samples == 300
    assert merged.scores() == whole.scores()


def test_a_merged_part_may_go_on() -> None:
    first, second = added(Sums({"right": Right()}), [0, 100]), added(Sums({"right": Right()}), [100, 200])
    first.merge(second)
    added(first, [200, 300])
    assert first.scores() == added(Sums({"right": Right()}), [0, 100, 200, 300]).scores()
    assert second.scores() == added(Sums({"right": Right()}), [100, 200]).scores()


def test_a_mean_of_batch_means_would_differ() -> None:
    scores = added(Sums({}), [0, 290, 300]).scores()
    means = (LOSSES[:290].mean() + LOSSES[290:].mean()) / 2
    assert abs((scores["loss"] or 0) - LOSSES.mean().item()) < 1e-12
    assert abs((scores["loss"] or 0) - means.item()) > 1e-3


def test_soft_targets_count_by_their_largest() -> None:
    soft = torch.nn.functional.one_hot(TARGETS, 4).float() * 0.7 + 0.05
    sums = Sums({"right": Right()})
    sums.add(LOGITS, soft, LOSSES.sum())
    assert sums.scores()["right"] == (LOGITS.argmax(1) == TARGETS).double().mean().item()


def test_nothing_seen_is_undefined() -> None:
    assert Sums({"right": Right()}).scores() == {"loss": None, "right": None}


class ByClass(Right):
    def compute_per_class(self) -> list[float | None]:
        return [self.compute(), None, None, 0.0]


def test_undefined_classes_are_named() -> None:
    sums = added(Sums({"right": Right(), "by_class": ByClass()}), [0, 300])
    names = ("a", "b\n", "c", "d")
    per_class = sums.per_class(names)
    assert per_class == {"by_class": {"a": sums.scores()["by_class"], "b\n": None, "c": None, "d": 0.0}}
    said = "note: by_class is undefined for 2 of 4 classes, left out of its value: b\\n, c"
    assert undefined_notes(per_class) == [said]
    assert undefined_notes({"f1": dict.fromkeys("ab", 0.0)}) == []
    (line,) = undefined_notes({"f1": dict.fromkeys("abcdefghijklm")})
    assert line.endswith("13 of 13 classes, left out of its value: a, b, c, d, e, f, g, h, i, j and 3 more")


def test_a_run_names_them_once(drawn: Any, tmp_path: Path) -> None:
    data = drawn(tmp_path / "few", {"bars": 10, "dots": 10, "rings": 1})  # a class keeps its last for training
    clsfit.train(data, output=tmp_path / "run", model="mlp", metric=["balanced_accuracy"], epochs=2, verbosity=0)
    said = "balanced_accuracy is undefined for 1 of 3 classes, left out of its value: rings\n"
    assert (tmp_path / "run" / "log.txt").read_text().count(said) == 1
