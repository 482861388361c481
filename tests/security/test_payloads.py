"""Files of weights that would run code where they are unpickled: none does here, by any command."""

from __future__ import annotations

import importlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

Refused = Callable[..., str]


class Payload:
    """What its unpickling calls, and with what."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def payload(kind: str) -> Payload:
    if kind == "shell":
        return Payload(os.system, "touch mark")
    if kind == "eval":
        return Payload(eval, "open('mark', 'w')")
    if kind == "module":
        return Payload(importlib.import_module, "trap")
    inner = io.BytesIO()
    torch.save({"w": torch.ones(1), "x": payload("shell")}, inner)
    if kind == "nested storage":
        return Payload(torch.storage._load_from_bytes, inner.getvalue())
    return Payload(pickle.loads, pickle.dumps(payload("eval")))


@pytest.mark.parametrize("kind", ["shell", "eval", "module", "nested storage", "nested pickle"])
@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_no_payload_runs(
    kind: str, form: str, attacked: SimpleNamespace, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap.py").write_text("open('mark', 'w')\n")
    content = {"w": torch.ones(2), "x": payload(kind)}
    if form == "pickle":
        (tmp_path / "w.pt").write_bytes(pickle.dumps({"x": payload(kind)}))
    else:
        torch.save(content, "w.pt", _use_new_zipfile_serialization=form == "zip")
    assert "could run any code" in refused({4}, "import", "w.pt", "out.safetensors")
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / "w.pt").rename(name) if name != "w.pt" else None
        refused({4}, "train", attacked.data, "--model", "mlp", "--dry-run", "--model.weights", name)
        refused({4}, "predict", name, attacked.data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trap.py", "w.safetensors"]
