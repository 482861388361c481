"""Row 40: a model file of other classes, sizes or versions, and half a run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.storage import modelfile

Edit = Callable[[dict[str, Any]], Any]

pytestmark = pytest.mark.faults


def edited(run: Path, path: Path, edit: Edit) -> Path:
    """The run's model with another header, sealed with a hash that fits."""
    model = modelfile.read(run / "last.safetensors")
    header = json.loads(json.dumps(model.header))
    edit(header)
    path.write_bytes(modelfile.seal(model.blob, header))
    return path


@pytest.mark.parametrize(
    ("edit", "code", "told"),
    [
        pytest.param(lambda h: h["classes"].append("more"), 4, ["class_counts are not"], id="a class more"),
        pytest.param(lambda h: h["classes"].pop(), 4, ["class_counts are not"], id="a class less"),
        pytest.param(lambda h: h["finish"].update(input_size=[8, 8]), 4, ["does not fit"], id="another size"),
        pytest.param(lambda h: h["model"]["params"].update(hidden=[9]), 4, ["does not fit"], id="other layers"),
        pytest.param(lambda h: h.pop("classes"), 4, ["classes"], id="no classes"),
        pytest.param(lambda h: h.pop("prepare"), 4, ["prepare"], id="no preparation"),
        pytest.param(lambda h: h.pop("plugins"), 4, ["plugins"], id="no plugins"),
        pytest.param(lambda h: h.update(format=99), 4, ["99"], id="a later format"),
        pytest.param(lambda h: h["plugins"].append({"name": "gone", "distribution": "clsfit-gone", "version": "1.2"}),
                     8, ["gone", "clsfit-gone==1.2", "pip install"], id="a plugin that is not there"),
        pytest.param(lambda h: h["model"].update(name="os:system"), 8, ["os:system"], id="code by name"),
    ],
)  # fmt: skip
def test_row40_a_model_that_does_not_fit(
    fault: Any, run: Path, data: Path, tmp_path: Path, edit: Edit, code: int, told: list[str]
) -> None:
    path = edited(run, tmp_path / "model.safetensors", edit)
    fault(code, "predict", path, data, "-o", "p.csv", tells=told)
    assert not (tmp_path / "p.csv").exists()


def test_row40_half_a_run(fault: Any, run: Path, data: Path, kept: Any, tmp_path: Path) -> None:
    (run / "best.safetensors").unlink(missing_ok=True)
    kept(run)
    assert len(fault(0, "predict", run, data).out.splitlines()) == 65  # by the last one
    half = Path(shutil.copytree(run, tmp_path / "half"))
    (half / "last.safetensors").unlink()
    fault(4, "predict", half, data, tells=["no model file", "half", "best.safetensors"])
    fault(4, "evaluate", half, tells=["no model file", "half"])
    for name in ("split.csv", "config.yaml"):
        part = Path(shutil.copytree(run, tmp_path / f"without {name}"))
        (part / name).unlink()
        fault(4 if name == "split.csv" else 2, "evaluate", part, tells=[name if name == "split.csv" else "DATA"])
    fault(4, "predict", "x" * 300, data, tells=["no such model file"])
