"""``plugins list``, ``plugins show``, ``config schema``, and plugins that are broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

Run = Callable[..., Any]
KINDS = ["loss", "optimizer", "scheduler", "metric", "callback", "model", "dataset", "sampler", "augment", "recipe"]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three plugins beside the bundled one that cannot be loaded."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "cli_raises.py").write_text("raise ValueError('no such device')\n")
    (folder / "cli_exits.py").write_text("import sys\nsys.exit(4)\n")
    (folder / "cli_misspells.py").write_text(
        "from clsfit import hookimpl\n\n@hookimpl\ndef clsfit_loses():\n    return []\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    found = metadata.entry_points
    extra = [EntryPoint(name, f"cli_{name}", "clsfit") for name in ("raises", "exits", "misspells")]
    monkeypatch.setattr(metadata, "entry_points", lambda **by: [*found(**by), *extra])


def test_list_as_json(run: Run) -> None:
    plugins = json.loads(run("plugins", "list", "--json").out)
    standard = next(plugin for plugin in plugins if plugin["name"] == "standard")
    assert list(standard) == ["name", "distribution", "version", "status", "error", "components"]
    assert (standard["distribution"], standard["status"], standard["error"]) == ("clsfit", "ok", "")
    assert {c["kind"] for c in standard["components"]} == set(KINDS)
    assert all(list(c) == ["kind", "name", "help", "shadowed"] for c in standard["components"])


def test_list_of_one_kind(run: Run) -> None:
    plugins = json.loads(run("plugins", "list", "--json", "--kind", "loss").out)
    assert {c["kind"] for plugin in plugins for c in plugin["components"]} == {"loss"}
    text = run("plugins", "list", "--kind", "loss").out
    assert "focal" in text
    assert "adamw" not in text


def test_show(run: Run) -> None:
    text = run("plugins", "show", "f1").out
    for said in ("metric f1", "clsfit ", "--metric.f1.average", "macro|micro|weighted", "[macro]", "https://"):
        assert said in text
    assert run("plugins", "show", "clsfit:f1", "--kind", "metric").out == text
    assert "data: digits" in run("plugins", "show", "default").out
    assert "'focal'" in run("plugins", "show", "focl", code=2).err
    assert "precision" in run("plugins", "show", "f2", "--kind", "metric", code=2).err


def test_schema_takes_what_print_config_prints(run: Run, tmp_path: Path) -> None:
    schema = json.loads(run("config", "schema").out)
    tree = yaml.safe_load(run("train", "--loss", "focal", "--print-config").out)
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree | {"epochs": "many"}, schema)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "command", ["plugins list", "plugins show focal", "config schema", "train --print-config", "train --help"]
)
def test_broken_plugins_are_a_line_each(command: str, run: Run) -> None:
    done = run(*command.split())
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("clsfit: warning: plugin ") for line in lines)
    assert "sys.exit(4)" in lines[0]
    assert "clsfit_losses" in lines[1], "what was meant by the misspelt hook"
    assert "ValueError: no such device" in lines[2]
    assert done.out


def test_help_when_a_selected_target_cannot_be_imported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cli_absent.py").write_text(
        "from clsfit import Component, hookimpl\n\n@hookimpl\ndef clsfit_losses():\n"
        "    yield Component('absent', 'cli_absent_too:Loss', 'its module is not there')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = metadata.entry_points
    monkeypatch.setattr(
        metadata, "entry_points", lambda **by: [*found(**by), EntryPoint("absent", "cli_absent", "clsfit")]
    )
    assert "selected: absent" in run("train", "--loss", "absent", "--help").out
    assert "cli_absent_too" in run("train", "--loss", "absent", code=8).err


@pytest.mark.usefixtures("broken")
def test_an_unknown_name_says_which_plugins_failed(run: Run) -> None:
    done = run("train", "--loss", "tversky", code=2)
    said = done.err.splitlines()[3:]
    assert len(said) <= 3
    assert all(name in " ".join(said) for name in ("tversky", "raises", "exits", "misspells"))


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("switch", ["--no-plugins", "--disable-plugin=raises"])
def test_switches_stop_the_import(switch: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for command in ("plugins list", "train --print-config"):
        assert "no such device" not in run(*command.split(), switch).err
    name, value = ("CLSFIT_NO_PLUGINS", "true") if switch == "--no-plugins" else ("CLSFIT_DISABLE_PLUGINS", "raises")
    (tmp_path / "off.yaml").write_text(f"{name.removeprefix('CLSFIT_').lower()}: {value}\n")
    assert "no such device" not in run("train", "-c", "off.yaml", "--print-config").err
    monkeypatch.setenv(name, value)
    for command in ("plugins list", "train --print-config"):
        assert "no such device" not in run(*command.split()).err
    status = {plugin["name"]: plugin["status"] for plugin in json.loads(run("plugins", "list", "--json").out)}
    assert status["raises"] == "disabled"
    assert status["standard"] == "ok"
