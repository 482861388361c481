"""What is imported when: an answer that needs no torch does not wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

HEAVY = {"torch", "torchvision", "numpy", "PIL", "sklearn", "scipy", "safetensors", "clsfit_standard.losses"}

PROBE = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout

watched = json.loads(sys.argv[1])
done = []
for arguments, environment in json.load(sys.stdin):
    os.environ.update(environment)
    said = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with redirect_stdout(said), redirect_stderr(said):
        from clsfit.cli import main
        code = main(arguments)
    for name in environment:
        del os.environ[name]
    done.append([int(code), [name for name in watched if name in sys.modules], said.buffer.getvalue().decode()])
print(json.dumps(done))
"""


def probe(
    *commands: list[str], watched: set[str], cwd: Path, env: dict[str, str] | None = None
) -> list[tuple[int, list[str], str]]:
    """Exit code, which of ``watched`` were imported by then, and output, of commands run one after another."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(sorted(watched))],
        input=json.dumps([[command, env or {}] for command in commands]),
        cwd=cwd,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return [(code, names, text) for code, names, text in json.loads(done.stdout)]


def test_importing_the_package_is_instant(tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import clsfit; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert not imported & {*HEAVY, "pydantic", "typer", "rich", "yaml"}
    assert {"clsfit", "pluggy"} <= imported


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "train --help",
        "train --help --loss focal",
        "predict --help",
        "bench --help",
        "data --help",
    ],
)
def test_help_imports_little(command: str, tmp_path: Path) -> None:
    ((code, imported, _),) = probe(command.split(), watched=HEAVY | {"pydantic"}, cwd=tmp_path)
    assert (code, imported) == (0, [])


def test_listings_import_nothing_heavy(tmp_path: Path) -> None:
    commands = ["plugins list", "plugins list --json", "plugins show focal", "plugins show resnet18", "config schema"]
    commands += ["train --print-config", "train --print-config --model resnet18 --metric f1 --callback early_stop"]
    for command, (code, imported, text) in zip(
        commands, probe(*map(str.split, commands), watched=HEAVY, cwd=tmp_path), strict=True
    ):
        assert (code, imported) == (0, []), f"{command}\n{text}"


@pytest.mark.parametrize(
    "line", ["clsfit train --loss ", "clsfit train --model resnet18 --model.", "clsfit plugins show "]
)
def test_completion_imports_nothing_heavy(line: str, tmp_path: Path) -> None:
    position = len(line.split()) - (not line.endswith(" "))
    env = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(position)}
    ((code, imported, text),) = probe([], watched=HEAVY, cwd=tmp_path, env=env)
    assert (code, imported) == (0, [])
    assert len(text.split()) > 0


@pytest.mark.parametrize("line", ["clsfit train ", "clsfit train --loss ", "clsfit train --loss focal --optimizer a"])
def test_a_name_is_completed_without_reading_recipes(line: str, tmp_path: Path) -> None:
    env = {"_CLSFIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    ((code, imported, text),) = probe([], watched={"yaml.loader", "clsfit.resume"}, cwd=tmp_path, env=env)
    assert (code, imported) == (0, [])
    assert len(text.split()) > 0


USAGE_ERRORS = {
    "trian": 2,
    "train --loss focl": 2,
    "train --los focal": 2,
    "train --loss focal --loss.gama 2": 2,
    "train --loss.gamma 2": 2,
    "train --loss focal --loss.gamma much": 2,
    "train --loss focal --loss.gamma -1": 2,
    "train --metric.f1.average mean": 2,
    "train --epochs 0": 2,
    "train --epochs ten": 2,
    "train --device gpu": 2,
    "train --set loss.gama=2": 2,
    "train --set epochs": 2,
    "train -c wrong_key.yaml": 2,
    "train -c wrong_value.yaml": 2,
    "train -c no_yaml.yaml": 2,
    "train -c missing.yaml": 2,
    "train --recipe defalt": 2,
    "train --callback.early_stop.monitor val/acuracy": 2,
    "train --resume --overwrite": 2,
    "train --disable-plugin standrd": 2,
    "train --split-by ratio --val-fraction 0": 2,
    "train digits --label-column kind": 2,
    "train . --group person": 2,
    "bench . --split-by part": 2,
    "evaluate missing . --split-by ratio": 2,
    "evaluate missing --label-column kind": 2,
    "data check . --label-column kind": 2,
    "data check missing": 3,
    "data check . --html missing/page.html": 2,
    "data split . -o split.txt": 2,
    "bench --loss focl": 2,
    "bench --seconds 0": 2,
    "bench --seconds soon": 2,
    "bench --resume": 2,
    "bench -c missing.yaml": 2,
    "bench missing": 3,
    "train missing": 3,
    "evaluate missing": 4,
    "predict missing picture.png": 4,
    "plugins show focl": 2,
    "plugins list --kind los": 2,
}


def test_usage_errors_come_before_torch(tmp_path: Path) -> None:
    (tmp_path / "wrong_key.yaml").write_text("losss: focal\n")
    (tmp_path / "wrong_value.yaml").write_text("loss: {name: focal, gamma: much}\n")
    (tmp_path / "no_yaml.yaml").write_text("loss: [focal\n")
    done = probe(*map(str.split, USAGE_ERRORS), watched=HEAVY - {"numpy", "PIL"}, cwd=tmp_path)
    for (command, expected), (code, imported, text) in zip(USAGE_ERRORS.items(), done, strict=True):
        assert (code, imported) == (expected, []), f"{command}\n{text}"
        assert len(text.splitlines()) <= 3, f"{command}\n{text}"


def test_training_and_applying_import_no_more_than_they_use(pictures: Path, tmp_path: Path) -> None:
    unused = {"sklearn", "scipy", "torchvision", "torch._dynamo", "torch._inductor", "sympy", "pandas"}
    run = str(tmp_path / "run")
    # small pictures of one's own in predict; the built-in digits in training and evaluation
    ((code, imported, text),) = probe(["train", "--epochs", "1", "-o", run], watched={"torch", *unused}, cwd=tmp_path)
    assert (code, imported) == (0, ["torch"]), text
    commands = ["evaluate", run], ["predict", run, str(pictures)]
    for code, imported, text in probe(*commands, watched={"torch", *unused}, cwd=tmp_path):
        assert (code, imported) == (0, ["torch"]), text


@pytest.mark.parametrize("model", ["small_cnn", "mlp", "resnet18"])
def test_applying_a_bundled_model_imports_no_compiler(model: str, pictures: Path, tmp_path: Path) -> None:
    unused, run = {"torchvision", "torch._dynamo", "torch._inductor", "sympy"}, str(tmp_path / "run")
    commands = ["train", str(pictures), "--model", model, "--epochs", "1", "-o", run], ["evaluate", run]
    for code, imported, text in probe(*commands, ["predict", run, str(pictures)], watched=unused, cwd=tmp_path):
        assert (code, imported) == (0, []), text


def test_frames_from_fit_to_the_model(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsfit_standard.models.mlp import MLP

    import clsfit

    forward, stacks = MLP.forward, []

    def noting(self: MLP, images: Any) -> Any:
        stacks.append([(frame.filename, frame.name) for frame in traceback.extract_stack()])
        return forward(self, images)

    monkeypatch.setattr(MLP, "forward", noting)
    clsfit.train(pictures, model="mlp", output=tmp_path / "run", epochs=1, verbosity=0, device="cpu")
    ways = []
    for stack in stacks:
        fits = [at for at, (file, name) in enumerate(stack) if name == "fit" and "clsfit" in file]
        if fits and any(name == "train_epoch" for _, name in stack):
            ways.append(stack[fits[-1] :])
    assert ways
    core = str(Path(clsfit.__file__).parent)
    for way in ways:
        assert len(way) <= 5, way  # fit, train_epoch, two of torch's, forward
        assert len([name for file, name in way if file.startswith(core)]) <= 2, way
