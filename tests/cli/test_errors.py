"""Wrong usage: at most three lines on stderr, the nearest right thing, the exit code; nothing on stdout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train --epoch 3", "--epochs"),
        ("train --resum", "--resume"),
        ("train --loss focl", "'focal'"),
        ("train --loss focal --loss.gama 3", "--loss.gamma"),
        ("train --loss.gama 3", "add --loss class_balanced or --loss focal"),
        ("train --loss.gamma 3", "add --loss class_balanced or --loss focal"),
        ("train --set loss.gamma=3", "add --loss class_balanced or --loss focal"),
        ("train --loss focal --loss.gamma abc", "--loss.gamma: 'abc'"),
        ("train --loss focal --loss.gamma -1", "--loss.gamma: '-1'"),
        ("train --metric.f1.averge macro", "--metric.f1.average"),
        ("train --metric.f1.average mikro", "macro|micro|weighted"),
        ("train --metric.f9.average macro", "unknown metric 'f9'"),
        ("train --no-loss.gamma", "--loss.gamma"),
        ("train --batch-size 0", "--batch-size"),
        ("train --batch_size 0", "--batch-size"),
        ("train --epochs", "--epochs"),
        ("train --input-size 3y3", "HxW"),
        ("train --accept-changes", "--resume"),
        ("train -q -v", "--verbose"),
        ("train --set epoch=3", "'epochs'"),
        ("train --recipe defalt", "'default'"),
        ("train --disable-plugin standart", "'standard'"),
        ("train -c nowhere.yaml", "nowhere.yaml"),
        ("train a b", "b"),
        ("train --optimizer sgd --optimizer.betas 1 2", "add --optimizer adam"),
        ("trian", "'train'"),
        ("plugins lst", "'list'"),
        ("plugins list --kind los", "'loss'"),
        ("plugins show focl", "'focal'"),
        ("plugins show focal --json", "clsfit plugins show --help"),
        ("config schem", "'schema'"),
        ("evaluate", "MODEL"),
        ("evaluate m --spli val", "--split"),
        ("evaluate m --split all", "'val'"),
        ("evaluate m --batch-size 0", "it should be greater"),
        ("evaluate m --fail-under accuracy", "METRIC=VALUE"),
        ("evaluate m --fail-under accuracy=nan", "METRIC=VALUE"),
        ("evaluate m --fail-under loss=1", "loss"),
        ("predict m", "PICTURES"),
        ("predict m x --top-k 0", "--top-k"),
        ("predict m x -o x.parquet", ".jsonl"),
        ("predict m x -o nowhere/x.csv", "nowhere"),
        ("train --no-skip-bad digits false", "a switch takes no value: --NAME or --no-NAME"),
        ("--nothing", "--nothing"),
    ],
)
def test_wrong_usage(arguments: str, said: str, run: Run) -> None:
    done = run(*arguments.split(), code=2)
    assert done.out == ""
    assert done.err.startswith("clsfit: error: ")
    assert len(done.err.splitlines()) <= 3
    assert said in done.err
    assert "\u2502" not in done.err, "no boxes"


def test_an_empty_output_is_no_folder(run: Run) -> None:
    assert "-o" in run("train", "-o", "", code=2).err


def test_an_unknown_data_set_is_a_data_error(run: Run) -> None:
    assert "'digits'" in run("train", "digit", code=3).err


def test_a_missing_model_is_a_checkpoint_error(run: Run) -> None:
    assert "nowhere" in run("predict", "nowhere", "x.png", code=4).err


def test_a_terminal_cannot_be_steered_by_an_argument(run: Run) -> None:
    done = run("train", "--lo\x1b[31mss", "x", code=2)
    assert "\x1b" not in done.err


def test_debug_shows_the_traceback_and_then_the_same_lines(run: Run) -> None:
    plain = run("train", "--epochs", 0, code=2).err
    shown = run("train", "--epochs", 0, "--debug", code=2).err
    assert "Traceback" not in plain
    assert "Traceback" in shown
    assert shown.endswith(plain)


def test_debug_by_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_DEBUG", "1")
    assert "Traceback" in run("train", "--epochs", 0, code=2).err
