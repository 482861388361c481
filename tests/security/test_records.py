"""Records of a run, and words of a command, that are not what clsfit writes: a documented exit each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("plugins",), 5),
        (("plugins", 0), "standard"),
        (("plugins", 0), {}),
        (("plugins", 0, "version"), 1),
        (("data",), []),
        (("data", "classes"), "abc"),
        (("data", "classes"), ["bars", 1, "rings"]),
        (("data", "pictures"), None),
        (("data", "fingerprint"), 7),
    ],
)
def test_environment_json(
    path: tuple[Any, ...], value: Any, attacked: SimpleNamespace, refused: Refused, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(attacked.run, tmp_path / "run"))
    values = json.loads((run / "environment.json").read_text())
    holder = values
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    (run / "environment.json").write_text(json.dumps(values))
    told = refused({4}, "train", attacked.data, "-o", run, "--resume")
    assert "environment.json" in told


@pytest.mark.parametrize("data", ["5", "[a]", '"a\\0b"', "{x: 1}", "{name: 5}", "2001-99-99", "&a [*a]", "null"])
def test_the_data_in_config_yaml(data: str, attacked: SimpleNamespace, refused: Refused, tmp_path: Path) -> None:
    run = Path(shutil.copytree(attacked.run, tmp_path / "run"))
    lines = (run / "config.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("data:")]
    assert len(kept) < len(lines)
    (run / "config.yaml").write_text("\n".join([f"data: {data}", *kept]))
    refused({3} if data == "2001-99-99" else {4}, "evaluate", run)


def test_tensors_of_a_checkpoint(attacked: SimpleNamespace, refused: Refused, tmp_path: Path) -> None:
    for name in ("model.safetensors", "state.safetensors"):
        for damage in (
            lambda raw: raw[:-4],
            lambda raw: raw + b"\0",
            lambda raw: b"\xff" * 8 + raw[8:],
            lambda raw: b"",
        ):
            run = Path(shutil.copytree(attacked.folder / "cut", tmp_path / "run"))
            for place in (run / "checkpoints").glob("step-*"):
                (place / name).write_bytes(damage((place / name).read_bytes()))
                attacked.kinds.rehash(place)
            refused({4}, "train", attacked.data, *attacked.kinds.TRAINED, "-o", run, "--resume", "-q")
            shutil.rmtree(run)


def test_names_that_no_file_can_have(attacked: SimpleNamespace, refused: Refused) -> None:
    long = "x" * 5000
    refused({3, 5}, "train", long)
    refused({5}, "train", attacked.data, "--model", "mlp", "-o", long)
    refused({4}, "evaluate", long)
    refused({3, 5}, "evaluate", attacked.run, long)
    refused({2, 4}, "import", long, "out.safetensors")
    assert len(refused({2}, "train", "--loss", long * 100)) < 7000
