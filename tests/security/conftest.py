"""A run to attack: a network of four units, trained for two epochs on 32 small pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsfit.cli import main
from clsfit.testing import draw_pictures

sys.path.insert(0, str(Path(__file__).parent / "fuzzing"))
import kinds

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """``.folder`` with ``data``, a whole ``run`` and a ``cut`` one; ``.kinds`` makes hostile files of them."""
    folder = tmp_path_factory.mktemp("attacked")
    draw_pictures(folder / "data", {"bars": 12, "dots": 12, "rings": 8})
    assert main(["train", str(folder / "data"), *kinds.TRAINED, "-o", str(folder / "run"), "-q"]) == 0
    kinds.cut(folder / "run", folder / "cut")
    return SimpleNamespace(folder=folder, data=folder / "data", run=folder / "run", kinds=kinds)


@pytest.fixture
def forged(attacked: SimpleNamespace, tmp_path: Path) -> Callable[..., Path]:
    """``forged(change)`` writes a model file whose header ``change`` has altered, with the right hash.

    ``change`` gets safetensors' own header, what clsfit says in it, and may return other numbers.
    """

    def make(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Path:
        outer, inner, data = kinds.parts((attacked.run / "best.safetensors").read_bytes())
        outer.pop("__metadata__")
        changed = change(outer, inner)
        file = tmp_path / "forged.safetensors"
        file.write_bytes(kinds.joined(outer, inner, changed if isinstance(changed, bytes) else data))
        return file

    return make


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """``refused({4}, "predict", ...)`` runs a command, checks its code and the form of its message, returns it."""

    def run(codes: set[int], *arguments: object) -> str:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        text = capfd.readouterr().err
        assert code in codes, f"exit {code}\n{text}"
        assert "Traceback" not in text
        message = text[text.index("clsfit: error: ") :]
        assert message.count("\n") <= 3, text
        assert all(c == "\n" or c.isprintable() for c in message), ascii(message)
        return message

    return run
