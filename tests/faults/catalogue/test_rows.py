"""Row 37, and that no row of the catalogue is forgotten."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from clsfit.engine.group import Group
from clsfit.engine.sums import Sums
from clsfit.pipeline.batches import batch_bounds

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

ELSEWHERE: dict[int, tuple[str, ...]] = {
    1: ("tests/faults/test_kill.py",),
    2: ("tests/faults/test_kill.py", "tests/storage/test_crash.py"),
    3: ("tests/faults/write_path/test_write_path.py",),
    4: ("tests/faults/test_signals.py", "tests/faults/test_ranks_go_on.py"),
    5: ("tests/faults/test_signals.py",),
    18: ("tests/data/test_worker_kills.py",),
    20: ("tests/data/test_worker_kills.py",),
}
"""Rows whose cases lie outside of this folder, and where."""


def test_every_row_has_a_case() -> None:
    found = {
        int(number)
        for path in HERE.glob("test_*.py")
        for name in re.findall(r"^def (test_row\w+)", path.read_text(), re.MULTILINE)
        for number in re.findall(r"row(\d\d)", name)
    }
    assert found | ELSEWHERE.keys() == set(range(1, 41))


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_files_with_the_other_rows_are_there(row: int) -> None:
    assert [path for path in ELSEWHERE[row] if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16, 64])
def test_row37_counts_are_exact_for_every_number_and_batch_size(batch_size: int) -> None:
    """1 to 40 pictures, in batches of any size, gathered in up to four parts: scikit-learn's number, to the bit."""
    from clsfit_standard.metrics.counts import F1, Accuracy

    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))
    for number in range(1, 41):
        for parts in range(1, 5):
            metrics: list[list[Any]] = [[Accuracy(), F1(num_classes=3)] for _ in range(parts)]
            for place, (start, stop) in enumerate(batch_bounds(number, batch_size)):
                for metric in metrics[place % parts]:
                    metric.update(logits[start:stop], targets[start:stop])
            for other in metrics[1:]:
                for metric, more in zip(metrics[0], other, strict=True):
                    metric.merge(more)
            truth, said = targets[:number].tolist(), logits[:number].argmax(1).tolist()
            assert metrics[0][0].compute() == accuracy_score(truth, said)
            assert metrics[0][1].compute() == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-12)


class Together(Group):
    """A rank among threads of this process: what it hands out reaches the others without a network."""

    def __init__(self, rank: int, shared: list[bytes], barrier: threading.Barrier) -> None:
        self.rank, self.world_size, self._shared, self._barrier = rank, len(shared), shared, barrier
        self._exchange: Any = self

    def gather(self, blob: bytes) -> list[bytes]:
        """As :meth:`clsfit.engine.exchange.Exchange.gather`."""
        self._shared[self.rank] = blob
        self._barrier.wait(10)
        all_of_them = list(self._shared)
        self._barrier.wait(10)
        return all_of_them


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_row37_ranks_count_every_picture_once(batch_size: int) -> None:
    """Validation's turns and merged sums, on every rank: scikit-learn's number for 1 to 40 pictures, 1 to 4 ranks."""
    from clsfit_standard.metrics.counts import F1, Accuracy

    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    def fresh() -> Sums:
        return Sums({"accuracy": Accuracy(), "f1": F1(num_classes=3)})

    def judge(rank: Together, number: int) -> dict[str, float | None]:
        sums = fresh()
        for start, stop in rank.turns(batch_bounds(number, batch_size)):
            sums.add(logits[start:stop], targets[start:stop], losses[start:stop].sum())
        whole = rank.merged(sums, fresh)
        assert whole.samples == number
        return whole.scores()

    for world_size in range(1, 5):
        shared, barrier = [b""] * world_size, threading.Barrier(world_size)
        ranks = [Together(rank, shared, barrier) for rank in range(world_size)]
        with ThreadPoolExecutor(world_size) as pool:
            for number in range(1, 41):
                found = list(pool.map(judge, ranks, [number] * world_size))
                assert all(scores == found[0] for scores in found)
                truth, said = targets[:number].tolist(), logits[:number].argmax(1).tolist()
                assert found[0]["accuracy"] == accuracy_score(truth, said)
                assert found[0]["f1"] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-12)
                assert found[0]["loss"] == pytest.approx(losses[:number].mean().item(), rel=1e-6)


@pytest.mark.faults
def test_row37_evaluate_scores_are_those_of_its_predictions(fault: Any, data: Path, run: Path, tmp_path: Path) -> None:
    """By command, at batch sizes that do and do not divide the 64 pictures: the same counts."""
    import csv
    import json

    scores = set()
    for batch_size in ("1", "7", "64", "1000"):
        options = ("--predictions", "p.csv", "--json", "--batch-size", batch_size)
        said = json.loads(fault(0, "evaluate", run, data, *options).out)
        with open(tmp_path / "p.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert said["accuracy"] == sum(row["label"] == row["predicted"] for row in rows) / 64
        scores.add((said["accuracy"], said["f1"]))
    assert len(scores) == 1
