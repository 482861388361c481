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
_TABLE_FILE = re.compile(r"<!-- lst: (\S+) -->\n```\w+\n(.*?)```\n", re.S)
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


def test_the_file_format_is_opened_by_its_ending_and_checked_as_a_table(
    tmp_path: Path, clsfit: Callable[..., Any], pictures: Path
) -> None:
    page = (ROOT / "docs/how-to/write-a-plugin.md").read_text(encoding="utf-8")
    about = {"METADATA": "Name: clsfit-lst\nVersion: 0.1\n", "entry_points.txt": "[clsfit]\nlst = clsfit_lst\n"}
    files = {**dict(_TABLE_FILE.findall(page)), **{f"clsfit_lst-0.1.dist-info/{n}": text for n, text in about.items()}}
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text, encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    found = sorted(pictures.rglob("*.png"))
    lines = [f"{number}\t{file.parent.name}\t{file}" for number, file in enumerate(found)]
    (tmp_path / "photos.lst").write_text("\n".join(lines) + "\n")
    (tmp_path / "photos.csv").write_text("\n".join(["number,label,path", *(line.replace("\t", ",") for line in lines)]))
    for name in ("photos.lst", "photos.csv"):
        clsfit("train", name, "--model", "small_cnn", "--epochs", "1", "-o", f"run-{name}", PYTHONPATH=path)
    csv, lst = ((tmp_path / f"run-{name}" / "split.csv").read_text() for name in ("photos.csv", "photos.lst"))
    assert csv == lst
    (tmp_path / "photos.lst").write_text("\n".join([*lines, lines[0]]) + "\n")
    done = clsfit("train", "photos.lst", code=3, PYTHONPATH=path)
    assert f"photos.lst, lines 1 and {len(lines) + 1}" in done.stderr
