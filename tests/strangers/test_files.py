"""DATA that only a stranger's data set opens: every command that takes DATA takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

OPTIONS = ("--epochs", 1, "--batch-size", 8, "--model", "small_cnn")


@pytest.fixture(scope="module")
def scans(environment: Callable[..., Any]) -> Any:
    return environment("clsfit-scans")


@pytest.fixture(scope="module")
def file(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the folder ``pictures`` in one file."""
    found = []
    for path in sorted(pictures.rglob("*.png")):
        pixels = np.asarray(Image.open(path).convert("L")).tolist()
        found.append({"name": path.relative_to(pictures).as_posix(), "label": path.parent.name, "pixels": pixels})
    made = tmp_path_factory.mktemp("scans") / "of all.scans"
    made.write_text(json.dumps(found))
    return made


@pytest.fixture(scope="module")
def trained(scans: Any, file: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run on the file, named relative to the current folder, without -o."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data.scans").write_bytes(file.read_bytes())
    done = scans.clsfit("train", "data.scans", *OPTIONS, cwd=folder)
    return SimpleNamespace(directory=folder / "runs" / "data-small_cnn", file=folder / "data.scans", said=done.stderr)


def test_train_names_the_run_after_the_file_and_writes_down_where_it_is(trained: SimpleNamespace) -> None:
    written = yaml.safe_load((trained.directory / "config.yaml").read_text())
    assert written["data"] == {"name": "scans", "path": str(trained.file), "brighter": 0}
    plugins = json.loads((trained.directory / "environment.json").read_text())["plugins"]
    assert {"name": "scans", "distribution": "clsfit-scans", "version": "2.1"} in plugins


def test_the_run_is_that_of_the_data_set_by_name(
    scans: Any, trained: SimpleNamespace, pictures: Path, tmp_path: Path
) -> None:
    scans.several(["train", "scans", "--data.path", trained.file, *OPTIONS, "-o", tmp_path / "named"])
    for name in ("last.safetensors", "split.csv", "config.yaml"):
        assert (tmp_path / "named" / name).read_bytes() == (trained.directory / name).read_bytes()


def test_evaluate_with_and_without_data(
    scans: Any, trained: SimpleNamespace, file: Path, pictures: Path, tmp_path: Path
) -> None:
    own, given, twice = scans.several(
        ["evaluate", trained.directory, "--json"],
        ["evaluate", trained.directory, file, "--json"],
        ["train", pictures, *OPTIONS, "-o", tmp_path / "folder"],
    )
    assert [own.code, given.code, twice.code] == [0, 0, 0], own.stderr + given.stderr + twice.stderr
    recorded = json.loads((trained.directory / "metrics.jsonl").read_text())
    assert json.loads(own.stdout)["loss"] == recorded["val/loss"]
    # a model that knows nothing of the plugin is judged by it, all the same
    (other,) = scans.several(["evaluate", tmp_path / "folder", file, "--json"])
    assert other.code == 0, other.stderr
    off = scans.clsfit("evaluate", tmp_path / "folder", file, code=3, CLSFIT_DISABLE_PLUGINS="scans")
    assert "switched off: scans (clsfit-scans 2.1)" in off.stderr


def test_a_run_whose_file_has_moved(scans: Any, trained: SimpleNamespace, tmp_path: Path) -> None:
    moved = trained.file.rename(tmp_path / "moved.scans")
    try:
        gone = scans.clsfit("evaluate", trained.directory, code=3)
        assert f"the run's own data is no longer at {trained.file}" in gone.stderr
        done = scans.clsfit("train", moved, "-o", trained.directory, "--resume", *OPTIONS)
        assert "complete" in done.stderr
    finally:
        moved.rename(trained.file)


def test_the_run_is_not_written_over_the_file(scans: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "split.csv.scans").write_bytes(file.read_bytes())
    checked, drawn = scans.several(
        ["data", "check", file, "--html", file],
        ["data", "preview", file, "-o", tmp_path / "seen.png", "--model", "small_cnn"],
    )
    assert checked.code == 2
    assert "would be written into the data set" in checked.stderr
    assert drawn.code == 0, drawn.stderr
    assert (tmp_path / "seen.png").stat().st_size > 0


def test_data_check_imports_no_torch(scans: Any, file: Path) -> None:
    code = "import sys; from clsfit.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    done = scans._run("-c", code, "data", "check", str(file), cwd=None, env={})
    assert "pictures  63" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_data_split_needs_files(scans: Any, file: Path, tmp_path: Path) -> None:
    (done,) = scans.several(["data", "split", file, "-o", tmp_path / "split.csv"])
    assert done.code == 3
    assert "a table names pictures by their files, and these are in none" in done.stderr
    assert not (tmp_path / "split.csv").exists()


def test_its_options_are_shown_and_taken(scans: Any, file: Path, tmp_path: Path) -> None:
    helped, printed, shown, wrong, bench = scans.several(
        ["train", file, "--help"],
        ["train", file, "--data.brighter", 7, "--print-config"],
        ["plugins", "show", "scans"],
        ["train", file, "--data.brihgter", 7, "--print-config"],
        ["bench", file, *OPTIONS, "--seconds", 0.05],
    )
    assert "--data.brighter" in helped.stdout
    assert yaml.safe_load(printed.stdout)["data"] == {"name": "scans", "path": str(file), "brighter": 7}
    assert "  opens  .scans" in shown.stdout.splitlines()
    assert (wrong.code, "Did you mean --data.brighter?" in wrong.stderr) == (2, True)
    assert bench.code == 0, bench.stderr


def test_completion_offers_the_file(scans: Any, file: Path) -> None:
    words = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": f"clsfit train {file.parent}/", "COMP_CWORD": "2"}
    assert str(file) in scans.clsfit(**words).stdout.splitlines()


def test_without_the_plugin_the_message_says_what_is_switched_off(scans: Any, file: Path) -> None:
    done = scans.clsfit("train", file, "--disable-plugin", "scans", code=3)
    lines = done.stderr.splitlines()
    assert lines[-3:-1] == [
        "clsfit: error: DATA is neither a folder nor an archive nor a table of pictures",
        f"  {file}; switched off: scans (clsfit-scans 2.1)",
    ]
