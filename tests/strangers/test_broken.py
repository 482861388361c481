"""Plugins that cannot be loaded: every other command works, and says so in one line for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

REASONS = {
    "exits (clsfit-exits 0.4)": "it called sys.exit(3)",
    "misspelt (clsfit-misspelt 0.5)": "misspelt hook clsfit_loses; did you mean 'clsfit_losses'?",
    "raises (clsfit-raises 0.3)": "ImportError: libmoth.so.3: cannot open shared object file (is libmoth installed?)",
}
WARNINGS = [f"clsfit: warning: plugin {plugin} failed to load: {reason}" for plugin, reason in REASONS.items()]


def warnings(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "failed to load" in line and line.startswith("clsfit: warning")]


COMMANDS = [
    ["plugins", "list"],
    ["plugins", "list", "--json"],
    ["plugins", "show", "focal"],
    ["config", "schema"],
    ["train", "--help"],
    ["train", "--print-config"],
    ["train", "--print-config", "--loss", "tempered"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_other_command_works_and_says_so(broken: Any, arguments: list[str]) -> None:
    done = broken.clsfit(*arguments)
    assert warnings(done.stderr) == WARNINGS
    assert "Traceback" not in done.stderr
    assert "no licence found" not in done.stdout  # what a plugin prints is no data of the command's


def test_training_works(broken: Any, pictures: Path, all_six: tuple[str, ...], tmp_path: Path) -> None:
    done = broken.clsfit("train", pictures, *all_six, "--epochs", 1, "-o", tmp_path / "run")
    assert warnings(done.stderr) == WARNINGS
    assert (tmp_path / "run" / "summary.json").exists()


def test_commands_that_need_no_names_are_silent(broken: Any) -> None:
    assert broken.clsfit("--help").stderr == ""
    assert broken.clsfit("--version").stderr == ""
    env = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": "clsfit train --loss temp", "COMP_CWORD": "3"}
    assert broken.clsfit(**env).stdout.split() == ["tempered"]


def test_they_are_listed_with_the_reason(broken: Any) -> None:
    entries = {entry["name"]: entry for entry in json.loads(broken.clsfit("plugins", "list", "--json").stdout)}
    for plugin, reason in REASONS.items():
        name, distribution, version = plugin.replace("(", "").replace(")", "").split()
        assert entries[name] == {
            "name": name,
            "distribution": distribution,
            "version": version,
            "status": "failed",
            "error": reason,
            "components": [],
        }
    assert entries["stranger"]["status"] == "ok"


def test_switched_off_they_are_silent(broken: Any) -> None:
    switches = [f"--disable-plugin={name}" for name in ("exits", "clsfit-misspelt", "raises")]
    assert broken.clsfit("plugins", "list", *switches).stderr == ""
    assert broken.clsfit("train", "--print-config", "--no-plugins").stderr == ""


def test_an_unknown_name_blames_every_broken_plugin(broken: Any, pictures: Path) -> None:
    done = broken.clsfit("train", pictures, "--loss", "hinge", code=2)
    error = [line for line in done.stderr.splitlines() if line not in WARNINGS and "licence" not in line]
    assert len(error) == 3
    assert "unknown loss 'hinge'" in error[0]
    for plugin, reason in REASONS.items():
        assert f"{plugin}: {reason}" in error[1]


@pytest.mark.parametrize(("plugin", "reason"), REASONS.items())
def test_a_name_with_a_broken_provider(broken: Any, pictures: Path, plugin: str, reason: str) -> None:
    name, distribution = plugin.replace("(", "").split()[:2]
    for provider in (name, distribution):
        done = broken.clsfit("train", pictures, "--loss", f"{provider}:hinge", code=8)
        error = done.stderr[done.stderr.index("clsfit: error:") :].splitlines()
        assert len(error) <= 3
        assert plugin in error[1]
        assert reason in error[2]
