"""The tutorial about a loss plugin: its files are the package's, its commands print what it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
PAGE, PACKAGE = TUTORIAL / "write-a-loss.md", TUTORIAL / "clsfit-taylor"
SOURCES = ("pyproject.toml", "clsfit_taylor/__init__.py", "clsfit_taylor/loss.py", "tests/test_taylor.py")
_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.S)


def test_the_files_of_the_page_are_the_package() -> None:
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.*") if path.is_file() and path.suffix != ".pyc")
    assert sorted(path.as_posix() for path in found) == sorted(SOURCES)
    shown = dict(_FILE.findall(PAGE.read_text(encoding="utf-8")))
    assert shown == {name: (PACKAGE / name).read_text(encoding="utf-8") for name in SOURCES}


def test_the_title_counts_right() -> None:
    promised = re.match(r"# .* in (\d+) lines\n", PAGE.read_text(encoding="utf-8"))
    assert promised is not None
    lines = [line for name in SOURCES[1:3] for line in (PACKAGE / name).read_text(encoding="utf-8").splitlines()]
    code = [line for line in lines if line.strip() and not line.strip().startswith('"""')]
    assert len(code) == int(promised[1])


def test_the_package_installs_trains_and_prints_what_the_page_shows(
    tmp_path: Path, follow: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, site = tmp_path / PACKAGE.name, tmp_path / "site"
    for name in SOURCES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True, text=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    follow(PAGE, source)
    recorded = json.loads((tmp_path / "runs/taylor/environment.json").read_text())["plugins"]
    assert {"name": "taylor", "distribution": "clsfit-taylor", "version": "0.1"} in recorded
    rows = [json.loads(line) for line in (tmp_path / "runs/taylor/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1]["val/accuracy"] > 0.9
