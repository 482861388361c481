"""Names decide which installed component is used, never which code: wherever they are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Refused = Callable[..., str]
Forged = Callable[..., Path]

NAMES = (
    "os:system",
    "os.system",
    "../trap.py",
    "./trap.py",
    "trap",
    "trap:run",
    "/trap.py:run",
    "clsfit_standard.losses.focal:Focal",
    "clsfit:os.system",
    "standard:../trap",
    "__import__('trap')",
    "!!python/object/apply:os.system",
    "file:///trap.py",
    "https://example.org/trap.py",
)
SLOTS = ("model", "loss", "optimizer", "scheduler", "metric", "callback", "sampler", "augment")


@pytest.fixture(autouse=True)
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module in the current folder, which leaves a mark when it is imported or run."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    (tmp_path / "trap.py").write_text(f"open({str(mark)!r}, 'w')\ndef run(*a, **k): open({str(mark)!r}, 'w')\n")
    yield
    assert not mark.exists(), "a name was taken for code"


@pytest.mark.parametrize("name", NAMES)
def test_in_a_configuration(name: str, refused: Refused, attacked: SimpleNamespace, tmp_path: Path) -> None:
    for slot in SLOTS:
        for written in (name, {"name": name}):
            (tmp_path / "run.yaml").write_text(json.dumps({slot: written}))
            refused({2, 8}, "train", attacked.data, "-c", "run.yaml", "--dry-run")
        refused({2, 8}, "train", attacked.data, "--set", f"{slot}={json.dumps(name)}", "--dry-run")
        refused({2, 8}, "train", attacked.data, f"--{slot}={name}", "--dry-run")
    refused({2, 8}, "train", attacked.data, "--recipe", name, "--dry-run")
    refused({2, 8}, "plugins", "show", name)


@pytest.mark.parametrize("name", NAMES)
def test_in_a_model_file(name: str, refused: Refused, attacked: SimpleNamespace, forged: Forged) -> None:
    def named(kind: str, field: str) -> Callable[[Any, Any], None]:
        def change(_: Any, inner: Any) -> None:
            entry = inner[kind][0] if isinstance(inner[kind], list) else inner[kind]
            entry[field] = name
            if field == "plugin":
                inner["plugins"].append({"name": name, "distribution": "clsfit", "version": "1"})

        return change

    for kind in ("model", "loss", "metrics"):
        for field in ("name", "plugin"):
            refused({2, 4, 8}, "evaluate", forged(named(kind, field)), attacked.data)

    def augmented(_: Any, inner: Any) -> None:
        inner["augments"] = [{"name": name, "plugin": "standard", "params": {}}]

    refused({2, 4, 8}, "predict", forged(augmented), attacked.data)


@pytest.mark.parametrize("name", NAMES[:6])
def test_in_the_records_of_a_run(name: str, refused: Refused, attacked: SimpleNamespace, tmp_path: Path) -> None:
    run = Path(shutil.copytree(attacked.run, tmp_path / "run"))
    text = (run / "config.yaml").read_text()
    assert "name: mlp" in text
    (run / "config.yaml").write_text(text.replace("name: mlp", f"name: {json.dumps(name)}"))
    refused({2, 4, 8}, "train", "-o", run, "--resume")
    (run / "config.yaml").write_text(text)
    environment = json.loads((run / "environment.json").read_text())
    environment["plugins"][0]["name"] = name
    (run / "environment.json").write_text(json.dumps(environment))
    refused({8}, "train", attacked.data, "-o", run, "--resume")


@pytest.mark.parametrize("name", NAMES[:4])
def test_in_a_checkpoint(name: str, attacked: SimpleNamespace, tmp_path: Path, capfd: Any) -> None:
    from clsfit.cli import main

    run = Path(shutil.copytree(attacked.folder / "cut", tmp_path / "run"))
    for place in (run / "checkpoints").glob("step-*"):
        state = json.loads((place / "state.json").read_text())
        state["callbacks"] = {"items": [[name, {"items": [["__class__", name], ["monitor", name]]}]]}
        (place / "state.json").write_text(json.dumps(state))
        attacked.kinds.rehash(place)
    command = ["train", str(attacked.data), *attacked.kinds.TRAINED, "-o", str(run), "--resume"]
    assert main(command) in {0, 4}, capfd.readouterr().err


def test_tags_of_yaml_make_nothing(refused: Refused, attacked: SimpleNamespace, tmp_path: Path) -> None:
    for tag in (
        "!!python/object/apply:os.system ['touch mark']",
        "!!python/object/new:os.system ['touch mark']",
        "!!python/name:trap.run",
        "!!python/module:trap",
        "!!binary aGk=",
        "!!set {a}",
        "!trap x",
    ):
        (tmp_path / "run.yaml").write_text(f"loss: {tag}\n")
        assert "tag" in refused({2}, "train", attacked.data, "-c", "run.yaml", "--dry-run")
        refused({2, 8}, "train", attacked.data, "--set", f"loss={tag}", "--dry-run")


def test_aliases_cannot_fill_the_memory(refused: Refused, attacked: SimpleNamespace, tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "run.yaml").write_text("\n".join(["a0: &a0 [x, x]", *levels, "loss: *a11"]))
    told = refused({2}, "train", attacked.data, "-c", "run.yaml", "--dry-run")
    assert "250,000 values" in told
