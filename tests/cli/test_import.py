"""``clsfit import``: foreign weights become a safetensors file, which a run can start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from clsfit.cli import main

Run = Callable[..., Any]


def foreign_weights(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint of data-parallel training, with two tensors that share their memory."""
    shared = torch.arange(4.0)
    weights = {"a": torch.randn(2, 3).half(), "b": shared, "c": shared, "d": shared[1:3], "e": torch.randn(3, 2).T}
    torch.save({"model": {f"module.{name}": tensor for name, tensor in weights.items()}, "epoch": 3}, path)
    return weights


def test_import(run: Run, tmp_path: Path) -> None:
    weights = foreign_weights(tmp_path / "w.pt")
    done = run("import", "w.pt", "out.safetensors")
    assert done.out == "out.safetensors\n"
    assert done.err.splitlines() == [
        "weights found under 'model', beside epoch",
        "'module.' taken off all names",
        "5 tensors, 22 numbers",
    ]
    read = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_file_is_not_overwritten_unless_asked(run: Run, tmp_path: Path) -> None:
    foreign_weights(tmp_path / "w.pt")
    run("import", "w.pt", "out.safetensors")
    before = (tmp_path / "out.safetensors").read_bytes()
    (tmp_path / "out.safetensors").write_bytes(b"precious")
    assert "--overwrite" in run("import", "w.pt", "out.safetensors", code=2).err
    assert (tmp_path / "out.safetensors").read_bytes() == b"precious"
    run("import", "w.pt", "out.safetensors", "--overwrite")
    assert (tmp_path / "out.safetensors").read_bytes() == before


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    foreign_weights(tmp_path / "w.pt")
    assert "out.safetensors" in run("import", "w.pt", "out.pt", code=2).err
    assert "missing.pt" in run("import", "missing.pt", "out.safetensors", code=4).err
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    assert "Linear" in run("import", "whole.pt", "out.safetensors", code=4).err
    run("import", "w.pt", "no/folder/out.safetensors", code=5)
    run("import", "w.pt", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt", "whole.pt"]


def test_help_and_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    page = run("import", "--help").out
    assert "clsfit import [OPTIONS] FILE OUT" in page
    assert "clsfit import resnet18.pth resnet18.safetensors" in page
    assert "import " in run("--help").out
    monkeypatch.setenv("_CLSFIT_COMPLETE", "complete_bash")
    for line, offered in (("clsfit im", "import"), ("clsfit import --ov", "--overwrite")):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        assert run().out.split() == [offered]


def test_a_run_starts_from_imported_weights(run: Run, pictures: Path, tmp_path: Path) -> None:
    options = [
        "train",
        str(pictures),
        "--model",
        "mlp",
        "--epochs",
        "1",
        "-q",
        "--optimizer.lr",
        "1e-30",
    ]  # changes no bit
    assert main([*options, "-o", "first", "--seed", "3"]) == 0
    tensors = safetensors.torch.load_file("first/last.safetensors")
    plain = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    torch.save(plain, "mlp.pth")
    done = run(*options, "-o", "second", "--model.weights", "mlp.pth", code=4)
    assert "clsfit import" in done.err
    assert not Path("second").exists()
    run("import", "mlp.pth", "mlp.safetensors")
    run(*options, "-o", "second", "--model.weights", "mlp.safetensors")
    again = safetensors.torch.load_file("second/last.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
