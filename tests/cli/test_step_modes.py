"""``--step``: exit codes, the record, and a compiled run that another process goes on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--model", "mlp", "--model.hidden", "8", "--batch-size", "16", "--threads", "1", "--device", "cpu")


@pytest.mark.parametrize("mode", ["graph", "compile+graph"])
def test_a_graph_on_a_cpu_is_exit_2(clsfit: Callable[..., Any], pictures: Path, mode: str) -> None:
    done = clsfit("train", pictures, *SMALL, "--step", mode, "-o", "run", code=2)
    assert f"--step {mode} needs a CUDA device, and this run is on cpu" in done.stderr
    assert "use --step eager or --step compile" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_compiler_is_exit_5(clsfit: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    done = clsfit("train", pictures, *SMALL, "--step", "compile", "-o", "run", code=5, CXX="no-such-compiler")
    assert "torch.compile needs a C++ compiler, and there is no no-such-compiler" in done.stderr
    assert "name it in CXX, or use --step eager" in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_unknown_mode_is_exit_2(clsfit: Callable[..., Any], pictures: Path) -> None:
    done = clsfit("train", pictures, *SMALL, "--step", "fast", code=2)
    assert "compile+graph" in done.stderr


def test_auto_is_said_and_recorded(clsfit: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    done = clsfit("train", pictures, *SMALL, "--epochs", "1", "-o", "run")
    assert "step: eager (auto: always on cpu)" in done.stderr
    assert "\nstep: eager\n" in (tmp_path / "run" / "config.yaml").read_text()
    again = clsfit("train", pictures, "--step", "compile", "-o", "run", "--resume", code=4)
    assert "step: eager -> compile" in again.stderr
    assert clsfit("train", pictures, "--step", "auto", "-o", "run", "--resume").returncode == 0


@pytest.mark.slow  # two processes that compile
def test_another_process_goes_on_with_a_compiled_run(
    clsfit: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    options = (*SMALL, "--model.dropout", "0.3", "--step", "compile", "--epochs", "2")
    stop = ("--callback", "checkpoint", "--callback.checkpoint.every_epochs", "1")
    for name in ("whole", "parted"):
        clsfit("train", pictures, *options, *stop, "-o", name, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / f"{name}-1"))
    parted = tmp_path / "parted"
    checkpoints = sorted((parted / "checkpoints").glob("step-*"))
    for last in checkpoints[-1:]:  # as if it had been killed in the second epoch
        for file in last.iterdir():
            file.unlink()
        last.rmdir()
    (parted / "summary.json").unlink()
    (parted / "latest").unlink(missing_ok=True)
    clsfit("train", pictures, "-o", "parted", "--resume", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cold"))
    for name in ("last.safetensors", "best.safetensors"):
        assert (parted / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
