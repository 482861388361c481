"""The tutorial's commands, run one after the other as a reader would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-run.md"


@pytest.mark.first
def test_every_command_does_what_the_page_shows(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    summary = json.loads((tmp_path / "runs/digits-small_cnn/summary.json").read_text())
    assert summary["best"]["value"] >= 0.98
    rows = [json.loads(line) for line in (tmp_path / "runs/long/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31)), "the resumed run has each epoch once"


def test_a_line_that_is_not_printed_is_found(compare: Callable[[str, str], None]) -> None:
    shown = "epoch 1/20  ...  val/accuracy 0.9\n...\nfinished: all epochs done\n"
    compare(shown, "epoch 1/20  train/loss 1e-05  val/accuracy 1.0000\n\nfinished: all epochs done\n")
    with pytest.raises(AssertionError, match="does not print"):
        compare(shown, "finished: all epochs done\nepoch 1/20  train/loss 2  val/accuracy 1.0000\n")
