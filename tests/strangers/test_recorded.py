"""What a run and a model file say of plugins, and what evaluate and predict make of it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsfit.storage import modelfile


def plugins(*, version: str = "1.4.2") -> list[dict[str, str]]:
    from clsfit import __version__

    return [
        {"name": "standard", "distribution": "clsfit", "version": __version__},
        {"name": "stranger", "distribution": "clsfit-stranger", "version": version},
    ]


def test_versions_are_recorded(trained: SimpleNamespace) -> None:
    assert json.loads((trained.directory / "environment.json").read_text())["plugins"] == plugins()
    for name in ("best", "last"):
        header = modelfile.read(trained.directory / f"{name}.safetensors").header
        assert header["plugins"] == plugins()
        assert header["model"] == {
            "name": "pocket",
            "plugin": "stranger",
            "params": {"width": 6, "dropout": 0.2, "norm": True, "weights": None},
        }


def test_evaluate_and_predict_import_only_what_is_recorded(
    strangers: Any, trained: SimpleNamespace, pictures: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    rows = [json.loads(line) for line in (trained.directory / "metrics.jsonl").read_text().splitlines()]
    best = json.loads((trained.directory / "summary.json").read_text())["best"]["epoch"]
    judged, applied = strangers.several(
        ["evaluate", trained.directory, "--json"], ["predict", trained.directory, pictures], TRACE=str(trace)
    )
    scores = json.loads(judged.stdout)
    for name in ("loss", "accuracy", "hits"):
        assert scores[name] == rows[best - 1][f"val/{name}"]
    predicted = list(csv.DictReader(applied.stdout.splitlines()))
    assert len(predicted) == 63
    assert {row["predicted"] for row in predicted} <= {"bars", "dots", "rings"}
    assert all(row["error"] == "" and 0 < float(row["probability"]) <= 1 for row in predicted)
    assert not trace.exists()


def test_broken_plugins_do_not_disturb_evaluate(broken: Any, trained: SimpleNamespace, pictures: Path) -> None:
    commands = (["evaluate", trained.directory, "--json"], ["predict", trained.directory, pictures / "bars"])
    assert [(done.code, done.stderr) for done in broken.several(*commands)] == [(0, ""), (0, "")]


@pytest.fixture(scope="module")
def uninstalled(environment: Callable[..., Any]) -> Any:
    """An environment from which the stranger's plugin was removed by pip."""
    there = environment("clsfit-stranger", "clsfit-bystander", fresh=True)
    there.pip("uninstall", "--yes", "clsfit-stranger")
    return there


def test_after_uninstalling(uninstalled: Any, trained: SimpleNamespace, pictures: Path) -> None:
    judged, applied, bare, prefixed = uninstalled.several(
        ["evaluate", trained.directory],
        ["predict", trained.directory, pictures],
        ["train", "--loss", "tempered"],
        ["train", "--loss", "clsfit-stranger:tempered"],
    )
    for done in (judged, applied):
        assert done.code == 8
        assert "plugin 'stranger', which is not installed" in done.stderr
        assert "pip install clsfit-stranger==1.4.2" in done.stderr
        assert len(done.stderr.splitlines()) <= 3
    assert bare.code == 2
    assert "unknown loss 'tempered'" in bare.stderr
    assert prefixed.code == 8
    assert "clsfit-stranger" in prefixed.stderr


def test_resuming_after_uninstalling_is_refused(uninstalled: Any, trained: SimpleNamespace, tmp_path: Path) -> None:
    copy = shutil.copytree(trained.directory, tmp_path / "run")
    by_the_record = ("train", trained.command[1], "-o", copy, "--resume")
    same_command = (*trained.command, "-o", copy, "--resume")
    for done in uninstalled.several(by_the_record, same_command, (*trained.command, f"-o{copy}", "--resume")):
        assert done.code == 8
        assert "the run was started with plugin 'stranger', which is not installed" in done.stderr
        assert "pip install clsfit-stranger==1.4.2" in done.stderr
        assert len(done.stderr.splitlines()) <= 3
    in_python = f"import clsfit; clsfit.train(model='pocket', output={str(copy)!r}, resume=True)"
    done = subprocess.run([uninstalled.python, "-c", in_python], capture_output=True, text=True, timeout=240)
    assert "clsfit.errors.PluginError" in done.stderr


def test_another_version(environment: Callable[..., Any], trained: SimpleNamespace, tmp_path: Path) -> None:
    there = environment("clsfit-stranger", fresh=True)
    info = next(there.folder.rglob("clsfit_stranger-1.4.2.dist-info"))
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").write_text(metadata.replace("Version: 1.4.2", "Version: 2.0"))
    copy = shutil.copytree(trained.directory, tmp_path / "run")
    (copy / "summary.json").unlink()
    command = (*trained.command, "-o", copy, "--resume")
    judged, refused, accepted = there.several(["evaluate", trained.directory], command, [*command, "--accept-changes"])
    assert judged.code == 0
    assert refused.code == 4
    assert "clsfit-stranger 1.4.2 -> clsfit-stranger 2.0" in refused.stderr
    assert accepted.code == 0
    assert json.loads((copy / "environment.json").read_text())["plugins"] == plugins(version="2.0")
