"""A model from its file."""

from __future__ import annotations

from pathlib import Path

import clsfit
from clsfit.storage import modelfile


def test_what_older_files_do_not_say_was_not_there(tmp_path: Path, pictures: Path) -> None:
    run = clsfit.train(pictures, output=tmp_path / "run", model="mlp", epochs=1, verbosity=0)
    written = modelfile.read(run.directory / "last.safetensors")
    header = {key: value for key, value in written.header.items() if key not in {"augments", "class_weights"}}
    assert len(header) == len(written.header) - 2
    modelfile.write(run.directory / "old.safetensors", written.blob, header)
    assert clsfit.load(run.directory / "old.safetensors").evaluate().scores["loss"] == run.metrics[-1]["val/loss"]
