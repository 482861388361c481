"""The plugins that the README and the how-to show, installed and used as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.S)


@pytest.mark.parametrize(
    ("page", "kind", "name", "options", "key"),
    [
        ("README.md", "loss", "poly", ["--loss", "poly", "--loss.epsilon", "2"], "val/loss"),
        ("docs/how-to/write-a-plugin.md", "metric", "gmean", ["--metric.gmean.floor", "0.01"], "val/gmean"),
    ],
)
def test_the_plugin_installs_lists_and_trains(
    page: str, kind: str, name: str, options: list[str], key: str, tmp_path: Path, clsfit: Callable[..., Any]
) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    for path, text in _FILE.findall((ROOT / page).read_text(encoding="utf-8")):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True, text=True)
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))

    listed = json.loads(clsfit("plugins", "list", "--json", PYTHONPATH=path).stdout)
    (plugin,) = [plugin for plugin in listed if plugin["distribution"] == f"clsfit-{name}"]
    assert (plugin["status"], plugin["version"]) == ("ok", "0.1")
    assert [(offer["kind"], offer["name"]) for offer in plugin["components"]] == [(kind, name)]

    clsfit("train", *options, "--epochs", "1", "-o", "run", PYTHONPATH=path)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row[key] > 0
    recorded = json.loads((tmp_path / "run" / "environment.json").read_text())["plugins"]
    assert {"name": name, "distribution": f"clsfit-{name}", "version": "0.1"} in recorded
