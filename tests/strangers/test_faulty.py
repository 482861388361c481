"""Components that load but break their contracts: exit 8 that names them, before the first step where it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

AT_STEP_0 = {
    "--loss square_loss": ["loss 'square_loss'", "one value per sample", "clsfit-faulty 0.6"],
    "--loss lost_loss": ["loss 'lost_loss'", "clsfit_faulty.nowhere", "clsfit-faulty 0.6"],
    "--scheduler never": ["scheduler 'never'", "when", "clsfit-faulty 0.6"],
    "--model narrow": ["model 'narrow'", "(2, 2)", "clsfit-faulty 0.6"],
    "--model no_model": ["model 'no_model'", "torch.nn.Module", "clsfit-faulty 0.6"],
    "--metric hoarder": ["hoarder", "set", "cannot be saved"],
    "--callback secretive": ["secretive", "object", "cannot be saved"],
    "--callback deaf": ["on_epoch_finish"],
}


LATER = {
    "--loss late_loss": ["IndexError: row 5", "clsfit_faulty.components", "clsfit-faulty 0.6"],
    "--loss leaving_loss": ["SystemExit", "clsfit_faulty.components", "clsfit-faulty 0.6"],
    "--model late_model --optimizer torch_rmsprop": [
        "RuntimeError",
        "in clsfit_faulty.components",
        "clsfit-faulty 0.6",
    ],
    "--callback late_callback": ["callback 'late_callback'", "on_step_end", "KeyError: 'third step'"],
    "--loss nan_loss": ["not finite at step 5", ".png"],
}


@pytest.fixture(scope="module")
def runs(faulty: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """What training with each component did, and its directory."""
    selected = [*AT_STEP_0, *LATER]
    directories = [tmp_path_factory.mktemp("faulty") / "run" for _ in selected]
    options = ("-q", "--batch-size", 8, "--callback.checkpoint.every_steps", 1)
    commands = [
        ["train", pictures, *choice.split(), *options, "-o", directory]
        for choice, directory in zip(selected, directories, strict=True)
    ]
    return dict(zip(selected, zip(faulty.several(*commands), directories, strict=True), strict=True))


@pytest.mark.parametrize("options", AT_STEP_0)
def test_found_before_the_first_step(runs: dict[str, tuple[Any, Path]], options: str) -> None:
    done, directory = runs[options]
    lines = done.stderr.splitlines()
    assert done.code == 8
    assert lines[0].startswith("clsfit: error: ")
    assert len(lines) <= 3
    for text in AT_STEP_0[options]:
        assert text in done.stderr
    assert not list(directory.glob("checkpoints/step-*"))
    assert not (directory / "metrics.jsonl").exists() or not (directory / "metrics.jsonl").read_text()


@pytest.mark.parametrize("options", LATER)
def test_in_the_middle_of_a_run(runs: dict[str, tuple[Any, Path]], options: str) -> None:
    done, directory = runs[options]
    assert done.code == (6 if "nan" in options else 8)
    assert len(done.stderr.splitlines()) <= 3
    for text in LATER[options]:
        assert text in done.stderr
    kept = sorted(path.parent.name for path in directory.glob("checkpoints/step-*/manifest.json"))
    last = 2 if "callback" in options else 0 if "model" in options else 4
    assert kept[-1] == f"step-{last:08}"


def test_debug_shows_the_traceback(faulty: Any, pictures: Path) -> None:
    done = faulty.clsfit("train", pictures, "--loss", "lost_loss", "--debug", code=8)
    assert "Traceback" in done.stderr
    assert "No module named 'clsfit_faulty.nowhere'" in done.stderr


def test_a_broken_target_does_not_hide_others(faulty: Any, pictures: Path) -> None:
    assert "lost_loss" in faulty.clsfit("plugins", "list").stdout  # its target is not imported for that
    faulty.clsfit("train", pictures, "--print-config")
