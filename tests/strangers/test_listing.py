"""A stranger's components in listings, help and completion, and the switches that keep it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OFFERED = [
    ("loss", "tempered", "cross entropy with a learned temperature", False),
    ("loss", "focal", "another focal loss", True),
    ("optimizer", "rmsprop", "torch's RMSprop", False),
    ("scheduler", "staircase", "torch's StepLR", False),
    ("metric", "hits", "share of samples with the target among the k best", False),
    ("callback", "diary", "writes diary.txt into the run's folder", False),
    ("model", "pocket", "one convolution, dropout and a linear layer", False),
]


def listed(environment: Any, *arguments: str, **env: str) -> dict[str, dict[str, Any]]:
    """The entries of ``plugins list --json`` by entry point."""
    entries = json.loads(environment.clsfit("plugins", "list", "--json", *arguments, **env).stdout)
    return {entry["name"]: entry for entry in entries}


def test_plugins_list_json(strangers: Any) -> None:
    assert listed(strangers)["stranger"] == {
        "name": "stranger",
        "distribution": "clsfit-stranger",
        "version": "1.4.2",
        "status": "ok",
        "error": "",
        "components": [dict(zip(("kind", "name", "help", "shadowed"), row, strict=True)) for row in OFFERED],
    }
    assert listed(strangers)["standard"]["distribution"] == "clsfit"


def test_plugins_list(strangers: Any) -> None:
    lines = [line.split() for line in strangers.clsfit("plugins", "list").stdout.splitlines()]
    assert ["stranger", "clsfit-stranger", "1.4.2", "ok"] in lines
    for kind, name, help_text, shadowed in OFFERED:
        wanted = [f"clsfit-stranger:{name}" if shadowed else name, "clsfit-stranger", *help_text.split()]
        assert wanted in lines or [kind, *wanted] in lines


def test_plugins_show_reads_signature_and_docstring(strangers: Any) -> None:
    shown, shadowed = strangers.several(*(["plugins", "show", name] for name in ("tempered", "clsfit-stranger:focal")))
    assert "clsfit-stranger 1.4.2" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["--loss.temperature", "float", "[1.0]", "where", "learning", "begins"] in lines
    assert "--loss.strength" in shadowed.stdout
    assert "shadowed by the bundled loss" in shadowed.stdout


def test_train_help_has_a_panel_for_each(strangers: Any, all_six: tuple[str, ...]) -> None:
    shown = strangers.clsfit("train", "--help", *all_six, COLUMNS="160", NO_COLOR="1", TERM="dumb").stdout
    for panel in (
        *("model: pocket", "loss: tempered", "optimizer: rmsprop"),
        *("scheduler: staircase", "metric: hits", "callback: diary"),
    ):
        assert f" {panel} " in shown
    lines = [" ".join(line.strip("│").split()) for line in shown.splitlines()]
    assert "--loss.temperature where learning begins [float; default: 1.0]" in lines
    assert "--metric.hits.k how many guesses a sample has [int; default: 2]" in lines
    assert "--model.norm --no-model.norm whether to normalise by the batch [default: on]" in lines
    assert "--optimizer.params" not in shown  # filled in by the core, hence no option


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("clsfit train --loss ", {"tempered", "clsfit-stranger:focal", "focal"}),
        ("clsfit train --model poc", {"pocket"}),
        (
            "clsfit train --model pocket --model.",
            {"--model.width", "--model.dropout", "--model.norm", "--model.weights"},
        ),
        ("clsfit train --callback diary --callback.diary.", {"--callback.diary.every"}),
        ("clsfit plugins show sta", {"staircase"}),
    ],
)
def test_completion(strangers: Any, line: str, expected: set[str]) -> None:
    position = len(line.split()) - (not line.endswith(" "))
    env = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(position)}
    offered = set(strangers.clsfit(**env).stdout.split())
    assert expected <= offered
    if not line.endswith(" "):
        assert expected == offered


def test_a_typo_finds_the_stranger(strangers: Any, pictures: Path) -> None:
    name, option, value = strangers.several(
        ["train", pictures, "--loss", "temperd"],
        ["train", pictures, "--loss", "tempered", "--loss.temprature", 2],
        ["train", pictures, "--loss", "tempered", "--loss.temperature", "warm"],
    )
    assert (name.code, option.code, value.code) == (2, 2, 2)
    assert "'tempered'" in name.stderr
    assert "--loss.temperature" in option.stderr
    assert "--loss.temperature" in value.stderr


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--disable-plugin", "bystander"], {}),
        (["--disable-plugin", "clsfit-bystander"], {}),
        ([], {"CLSFIT_DISABLE_PLUGINS": "bystander"}),
        ([], {"CLSFIT_DISABLE_PLUGINS": "stranger,clsfit_bystander"}),
        (["--no-plugins"], {}),
        ([], {"CLSFIT_NO_PLUGINS": "1"}),
    ],
)
def test_switched_off_is_never_imported(
    strangers: Any, pictures: Path, tmp_path: Path, arguments: list[str], env: dict[str, str]
) -> None:
    trace = tmp_path / "trace"
    assert listed(strangers, *arguments, **env, TRACE=str(trace))["bystander"] == {
        "name": "bystander",
        "distribution": "clsfit-bystander",
        "version": "0.7",
        "status": "disabled",
        "error": "",
        "components": [],
    }
    strangers.clsfit("train", pictures, *arguments, "--print-config", **env, TRACE=str(trace))
    assert not trace.exists()


def test_the_trace_shows_an_import(strangers: Any, pictures: Path, tmp_path: Path) -> None:
    strangers.clsfit("train", pictures, "--print-config", TRACE=str(tmp_path / "trace"))
    assert (tmp_path / "trace").read_text() == "imported\n"


def test_switched_off_in_a_file(strangers: Any, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("disable_plugins: [bystander, stranger]\n")
    trace = tmp_path / "trace"
    options = ("train", pictures, "-c", tmp_path / "off.yaml", "--print-config")
    strangers.clsfit(*options, TRACE=str(trace))
    assert not trace.exists()
    wrong = strangers.clsfit(*options, "--loss", "tempered", code=2).stderr
    assert "unknown loss 'tempered'" in wrong
    assert "switched off" in strangers.clsfit(*options, "--loss", "stranger:tempered", code=2).stderr


def test_a_switch_that_names_nothing(strangers: Any) -> None:
    wrong = strangers.clsfit("plugins", "list", "--disable-plugin", "clsfit-strangr", code=2).stderr
    assert "Did you mean 'clsfit-stranger'?" in wrong


def test_help_does_not_import_plugins(strangers: Any, tmp_path: Path) -> None:
    strangers.clsfit("--help", TRACE=str(tmp_path / "trace"))
    strangers.clsfit("--version", TRACE=str(tmp_path / "trace"))
    strangers.clsfit("evaluate", "--help", TRACE=str(tmp_path / "trace"))
    assert not (tmp_path / "trace").exists()
