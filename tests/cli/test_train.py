"""From arguments to the run's configuration; help that fits what is selected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsfit.config import resolve
from clsfit.registry import Plugins

Run = Callable[..., Any]


@pytest.fixture
def config(run: Run) -> Callable[..., dict[str, Any]]:
    """The tree that ``train ARGUMENTS --print-config`` prints."""

    def tree(*arguments: object) -> dict[str, Any]:
        done = run("train", *arguments, "--print-config")
        assert done.err == ""
        return dict(yaml.safe_load(done.out))

    return tree


def names(tree: dict[str, Any], slot: str) -> list[str]:
    return [item["name"] if isinstance(item, dict) else item for item in tree[slot]]


def entry(tree: dict[str, Any], slot: str, name: str) -> dict[str, Any]:
    return next(item for item in tree[slot] if isinstance(item, dict) and item["name"] == name)


@pytest.mark.parametrize(
    "arguments",
    [
        "--loss focal --loss.gamma 3",
        "--loss.gamma 3 --loss focal",
        "--loss=focal --loss.gamma=3",
        "--loss focal --set loss.gamma=3",
        "--set loss=focal --loss.gamma 3",
        "--set loss.name=focal --loss.gamma 3.0",
        "--loss focal --loss.gamma 7 --loss.gamma 3",
    ],
)
def test_ways_to_say_one_thing(arguments: str, config: Any) -> None:
    assert config(*arguments.split())["loss"] == {"name": "focal", "gamma": 3.0, "class_weights": None}


@pytest.mark.parametrize("name", ["--optimizer.weight_decay", "--optimizer.weight-decay"])
@pytest.mark.parametrize("size", ["--batch-size", "--batch_size"])
def test_hyphens_and_underscores_are_one(name: str, size: str, config: Any) -> None:
    tree = config(name, "1e-3", size, 8)
    assert tree["optimizer"]["weight_decay"] == 0.001
    assert tree["batch_size"] == 8


@pytest.mark.parametrize("words", ["-o run", "-orun", "-qo run", "-qorun", "-vqorun", "--output=run"])
def test_ways_to_write_an_option_with_a_value(words: str, run: Run) -> None:
    done = run("train", "nowhere", *words.split(), code=3)  # and not 2
    assert "nowhere" in done.err


def test_a_hyphen_in_a_component_name(config: Any) -> None:
    tree = config("--callback.early-stop.min-delta", 0.5)
    assert entry(tree, "callback", "early_stop")["min_delta"] == 0.5


@pytest.mark.parametrize("arguments", [["0.8", "0.9"], ["0.8,0.9"], ["(0.8, 0.9)"]])
def test_a_pair_as_two_words_or_one(arguments: list[str], config: Any) -> None:
    assert config("--optimizer.betas", *arguments)["optimizer"]["betas"] == [0.8, 0.9]
    if len(arguments) == 1:
        assert config(f"--optimizer.betas={arguments[0]}")["optimizer"]["betas"] == [0.8, 0.9]


def test_lists_of_numbers(config: Any) -> None:
    tree = config("--model", "mlp", "--model.hidden", "64,32", "--mean", "0.1,0.2,0.3", "--std", "0.5")
    assert tree["model"]["hidden"] == [64, 32]
    assert tree["mean"] == [0.1, 0.2, 0.3]
    assert tree["std"] == [0.5]


def test_flags(config: Any) -> None:
    assert config("--skip-bad")["skip_bad"] is True
    assert config("--skip-bad", "--no-skip-bad")["skip_bad"] is False
    assert config("--optimizer", "sgd", "--optimizer.nesterov")["optimizer"]["nesterov"] is True
    assert config("--optimizer", "sgd", "--no-optimizer.nesterov")["optimizer"]["nesterov"] is False


@pytest.mark.parametrize("word", ["none", "null", "None"])
def test_none_is_no_value(word: str, config: Any) -> None:
    assert entry(config("--callback.checkpoint.every_seconds", word), "callback", "checkpoint")["every_seconds"] is None


def test_repeatable_slots_add_and_naming_a_parameter_selects(config: Any) -> None:
    tree = config("--metric", "recall", "--metric.precision.average", "micro")
    assert names(tree, "metric") == ["none", "accuracy", "f1", "recall", "precision"]
    assert entry(tree, "metric", "precision")["average"] == "micro"


def test_none_empties_a_repeatable_slot(config: Any) -> None:
    tree = config("--metric", "none", "--metric", "recall")
    assert names(tree, "metric") == ["none", "recall"]


def test_a_provider_in_front_of_a_name(config: Any) -> None:
    tree = config("--metric.clsfit:precision.average", "micro", "--loss", "standard:focal", "--loss.gamma", 1)
    assert entry(tree, "metric", "precision")["average"] == "micro"
    assert tree["loss"] == {"name": "focal", "gamma": 1.0, "class_weights": None}


def test_precedence(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("loss: {name: focal, gamma: 1}\nepochs: 1\nseed: 1\nbatch_size: 1\n")
    (tmp_path / "b.yaml").write_text("epochs: 2\nseed: 2\nbatch_size: 2\n")
    monkeypatch.setenv("CLSFIT_SEED", "3")
    monkeypatch.setenv("CLSFIT_BATCH_SIZE", "3")
    tree = config("-c", "a.yaml", "-cb.yaml", "--set", "batch_size=4", "--set", "epochs=4", "--epochs", 5)
    assert (tree["loss"]["gamma"], tree["seed"], tree["batch_size"], tree["epochs"]) == (1.0, 3, 4, 5)


def test_a_component_from_a_file_or_the_environment_has_options_too(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text("loss: focal\n")
    assert config("--config", "a.yaml", "--loss.gamma", 4)["loss"]["gamma"] == 4.0
    monkeypatch.setenv("CLSFIT_OPTIMIZER", "sgd")
    assert config("--optimizer.momentum", 0.5)["optimizer"]["momentum"] == 0.5


def test_the_printed_file_gives_the_same_run(run: Run, tmp_path: Path) -> None:
    arguments = [
        "--loss",
        "focal",
        "--loss.gamma",
        "3",
        "--metric",
        "none",
        "--metric",
        "recall",
        "--augment",
        "crop",
        "--model",
        "mlp",
        "--mean",
        "0.5",
    ]
    first = run("train", *arguments, "--print-config").out
    (tmp_path / "same.yaml").write_text(first)
    assert run("train", "-c", "same.yaml", "--print-config").out == first
    assert resolve(Plugins.discover(), files=[tmp_path / "same.yaml"]).tree() == yaml.safe_load(first)


def test_data_is_the_argument(config: Any, pictures: Path) -> None:
    assert config(pictures)["data"] == str(pictures)
    assert "digits" in config("digits")["data"]["name"]


def test_two_hyphens_end_the_options(run: Run) -> None:
    assert "--epochs" in run("train", "--", "--epochs", code=3).err


def test_help_shows_the_options_of_what_is_selected(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("loss: {name: focal, gamma: 5}\nepochs: 77\n")
    plain = run("train", "--help").out
    assert "loss: focal" not in plain
    assert "optimizer: adamw" in plain
    assert "--metric.f1.average" in plain
    assert "macro|micro|weighted" in plain
    shown = run("train", "--loss", "focal", "--help").out
    assert "loss: focal" in shown
    assert "--loss.gamma" in shown
    filed = run("train", "-c", "a.yaml", "-h").out
    assert "default: 5]" in filed, "what the file sets stands where the default stood"
    assert "default: 77]" in filed


def test_help_in_spite_of_anything_wrong(run: Run) -> None:
    assert "--epochs" in run("train", "--loss", "nothing", "-c", "nowhere.yaml", "--set", "x", "--help").out


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize(
    "command", ["", "train", "bench", "evaluate", "predict", "plugins", "plugins list", "config schema"]
)
def test_help_fits_the_terminal(width: str, command: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    done = run(*command.split(), "--help")
    assert done.err == ""
    assert max(map(len, done.out.splitlines())) <= int(width)
    assert "Examples" in done.out


@pytest.mark.parametrize(
    ("command", "usage"),
    [("evaluate", "[OPTIONS] MODEL [DATA]"), ("predict", "MODEL PICTURES..."), ("plugins show", "NAME"), ("", "")],
)
def test_help_writes_names_plainly(command: str, usage: str, run: Run) -> None:
    text = run(*command.split(), "--help").out
    assert usage in text
    assert "<bool>" not in text
    assert "\n   clsfit " in text.split("Examples")[1], "examples are indented"


def test_a_long_name_that_is_cut_is_told_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("train", "--help").out
    assert "--callback.checkpoint.every_seconds" in text or "every_seconds:" in text


def test_every_core_option_is_there(run: Run) -> None:
    text = run("train", "--help").out
    for name in [
        "model",
        "loss",
        "optimizer",
        "scheduler",
        "metric",
        "callback",
        "sampler",
        "augment",
        "recipe",
        "epochs",
        "batch-size",
        "seed",
        "input-size",
        "channels",
        "resize",
        "mean",
        "std",
        "val-fraction",
        "device",
        "precision",
        "workers",
        "start-method",
        "threads",
        "cache",
        "step",
        "resume",
        "overwrite",
        "accept-changes",
        "skip-bad",
        "set",
        "print-config",
        "dry-run",
        "strict",
        "no-plugins",
        "disable-plugin",
        "debug",
    ]:
        assert f"--{name} " in text, name
    for short in ("-o", "-c", "-q", "-v", "-h"):
        assert f" {short} " in text


def test_options_reach_the_run(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from clsfit import api

    called = []

    def train_config(config: Any, plugins: Any, control: Any) -> Any:
        called.append((config, control))
        return api.TrainedRun(tmp_path / "somewhere", {}, [])

    monkeypatch.setattr(api, "train_config", train_config)
    done = run("train", "-o", "x", "--resume", "--accept-changes", "-v", "--epochs", 3)
    config, control = called.pop()
    assert control == api.Control(Path("x"), resume=True, accept_changes=True, verbosity=2)
    assert config.settings.epochs == 3
    assert done.out == f"{tmp_path}{os.sep}somewhere\n"
    assert run("train", "--dry-run", "-q").out == ""
    assert called.pop()[1] == api.Control(dry_run=True, verbosity=0)
    assert "strict" not in run("train", "--strict", "--print-config").out
    assert not called
    run("train", "--strict")
    assert called.pop()[1] == api.Control(strict=True)
    run("train", "--resume", "--overwrite", code=2)
    assert not called
