"""Model files with right hashes and hostile content: refused before anything is made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import clsfit
from clsfit.allocations import Allocations
from clsfit.errors import CheckpointError

Change = Callable[[dict[str, Any], dict[str, Any]], Any]
Forged = Callable[[Change], Path]
Refused = Callable[..., str]


def put(*path: str | int, value: Any) -> Change:
    """Sets one value of what clsfit says in the header."""

    def change(_: dict[str, Any], inner: dict[str, Any]) -> None:
        holder: Any = inner
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value

    return change


def nested(levels: int) -> Any:
    tree: Any = 1
    for _ in range(levels):
        tree = [tree]
    return tree


HOSTILE: dict[str, Change] = {
    "a billion classes counted": put("class_counts", value=[10**9] * 1000),
    "counts too few": put("class_counts", value=[1]),
    "counts not numbers": put("class_counts", value=[1, "2", 3]),
    "counts negative": put("class_counts", value=[1, -2, 3]),
    "counts huge": put("class_counts", value=[1, 2, 10**300]),
    "counts true": put("class_counts", value=[1, True, 3]),
    "no classes": put("classes", value=[]),
    "classes twice": put("classes", value=["a", "a", "b"]),
    "classes no texts": put("classes", value=[1, 2, 3]),
    "classes a text": put("classes", value="abc"),
    "weights too few": put("class_weights", value=[1.0]),
    "weights negative": put("class_weights", value=[1.0, -1.0, 1.0]),
    "weights no numbers": put("class_weights", value=[1.0, "x", 1.0]),
    "input of a billion": put("finish", "input_size", value=[10**9, 10**9]),
    "input of a stripe": put("finish", "input_size", value=[1, 10**9]),
    "input of zero": put("finish", "input_size", value=[0, 8]),
    "input negative": put("finish", "input_size", value=[-8, -8]),
    "input a fraction": put("finish", "input_size", value=[8.5, 8]),
    "input three": put("finish", "input_size", value=[8, 8, 8]),
    "channels seven": put("finish", "channels", value=7),
    "channels differ": put("prepare", "channels", value=3),
    "resize unknown": put("finish", "resize", value="os:system"),
    "mean no number": put("finish", "mean", value=["x"]),
    "mean too long": put("finish", "mean", value=[0.5] * 1000),
    "std zero": put("finish", "std", value=[0.0]),
    "std infinite": put("finish", "std", value=[float("inf")]),
    "std nan": put("finish", "std", value=[float("nan")]),
    "std huge": put("finish", "std", value=[10**400]),
    "canvas of a billion": put("prepare", "canvas_side", value=10**9),
    "canvas of zero": put("prepare", "canvas_side", value=0),
    "prepare a list": put("prepare", value=[1]),
    "finish nothing": put("finish", value=None),
    "batch of a text": put("batch_size", value="16"),
    "batch of zero": put("batch_size", value=0),
    "batch beyond 64 bits": put("batch_size", value=10**30),
    "seed negative": put("seed", value=-1),
    "seed beyond 64 bits": put("seed", value=2**64),
    "steps a fraction": put("total_steps", value=1.5),
    "device": put("device", value="cuda:99"),
    "precision": put("precision", value="fp4"),
    "format": put("format", value=99),
    "format a text": put("format", value="\x1b[2J"),
    "plugins none": put("plugins", value=[]),
    "plugins a number": put("plugins", value=5),
    "plugin without a name": put("plugins", value=[{}]),
    "plugin that injects a command": put(
        "plugins", value=[{"name": "standard", "distribution": "x; rm -rf ~", "version": "1"}]
    ),
    "too many plugins": put("plugins", value=[{"name": "x", "distribution": "x", "version": "1"}] * 5000),
    "options too deep": put("model", "params", "hidden", value=nested(900)),
    "options too many": put("model", "params", "hidden", value=[1] * 2_000_000),
    "options not a number": put("loss", "params", "x", value=float("nan")),
    "no model": put("model", value=None),
    "model a text": put("model", value="os:system"),
    "metrics a text": put("metrics", value="accuracy"),
    "metrics too many": put("metrics", value=[{"name": "f1", "plugin": "standard", "params": {}}] * 5000),
    "width of a billion": put("model", value={"name": "small_cnn", "plugin": "standard", "params": {"width": 10**9}}),
    "width of 20,000": put("model", value={"name": "small_cnn", "plugin": "standard", "params": {"width": 20_000}}),
    "hidden of a billion": put("model", "params", "hidden", value=[10**9]),
    "hidden of 100,000 twice": put("model", "params", "hidden", value=[100_000, 100_000]),
    "another model": put("model", value={"name": "resnet18", "plugin": "standard", "params": {}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_4(name: str, forged: Forged, refused: Refused, attacked: SimpleNamespace) -> None:
    file = forged(HOSTILE[name])
    told = refused({4, 8} if "billion" in name else {4}, "predict", file, attacked.data / "bars" / "000.png")
    assert "rm -rf" not in told


def test_what_weights_start_from_is_checked_as_well(
    forged: Forged, refused: Refused, attacked: SimpleNamespace
) -> None:
    for change in (put("finish", "input_size", value=[10**9, 10**9]), put("classes", value=7)):
        file = forged(change)
        refused({4}, "train", attacked.data, "--model", "mlp", "--dry-run", "--model.weights", file)


def entry(**changes: Any) -> Change:
    """Changes what safetensors' own header says of the first tensor."""

    def change(outer: dict[str, Any], _: dict[str, Any]) -> None:
        outer[next(iter(outer))].update(changes)

    return change


def first_renamed(outer: dict[str, Any], _: dict[str, Any]) -> None:
    outer["model.other"] = outer.pop(next(iter(outer)))


def overlapping(outer: dict[str, Any], _: dict[str, Any]) -> None:
    for tensor in outer.values():
        tensor["data_offsets"] = [0, 4]
        tensor["shape"] = [1]


def a_million_parts(_: dict[str, Any], inner: dict[str, Any]) -> None:
    inner["scores"] = [[]] * 1_100_000


def other_numbers(outer: dict[str, Any], _: dict[str, Any]) -> None:
    for tensor in outer.values():
        if tensor["dtype"] == "F32":
            tensor["dtype"] = "I32"


TENSORS: dict[str, Change] = {
    "dtype": entry(dtype="F128"),
    "dtype no text": entry(dtype=["F32"]),
    "shape huge": entry(shape=[10**9, 10**9]),
    "shape negative": entry(shape=[-4]),
    "shape a fraction": entry(shape=[4.0]),
    "shape deep": entry(shape=nested(500)),
    "beyond the end": entry(data_offsets=[0, 10**12]),
    "negative": entry(data_offsets=[-16, 0]),
    "huge": entry(data_offsets=[0, 10**30]),
    "one number": entry(data_offsets=[0]),
    "a text": entry(data_offsets="0,16"),
    "one more key": entry(more=1),
    "overlapping": overlapping,
    "renamed": first_renamed,
    "other numbers": other_numbers,
    "a gap": lambda outer, inner: b"\0" * 8 + b"\0" * 2000,
    "a million parts": a_million_parts,
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_are_not_there_are_4(
    name: str, forged: Forged, refused: Refused, attacked: SimpleNamespace
) -> None:
    refused({4}, "predict", forged(TENSORS[name]), attacked.data / "bars" / "000.png")


def test_json_that_is_too_deep_is_4(attacked: SimpleNamespace, refused: Refused, tmp_path: Path) -> None:
    levels = 100_000
    outer, inner, data = attacked.kinds.parts((attacked.run / "best.safetensors").read_bytes())
    outer.pop("__metadata__")
    file = tmp_path / "deep.safetensors"
    inside = json.dumps(inner | {"x": 0}).replace('"x": 0', '"x": ' + "[" * levels + "]" * levels)
    for blob in (
        attacked.kinds.joined(outer, inside, data),
        attacked.kinds.reseal(
            b'{"__metadata__":{"clsfit":"{}","sha256":"' + b"0" * 64 + b'"},"x":' + b"[" * levels, data
        ),
    ):
        file.write_bytes(blob)
        assert "header" in refused({4}, "predict", file, attacked.data / "bars" / "000.png")


def test_a_header_beyond_the_limit_is_4(attacked: SimpleNamespace, refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "long.safetensors"
    with file.open("wb") as out:
        out.write((100_000_001).to_bytes(8, "little"))
        out.truncate(100_000_100)
    assert "too large" in refused({4}, "predict", file, attacked.data)


def test_building_draws_the_same_and_is_bounded() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(torch.nn.Linear(4, 4).weight)
    with Allocations.of_file(100):
        torch.manual_seed(5)
        made.append(torch.nn.Linear(4, 4).weight)
    assert torch.equal(made[0], made[2])
    for build in (
        lambda: torch.nn.Linear(30_000, 30_000),
        lambda: torch.zeros(10**9),
        lambda: torch.zeros(size=(10**9,)),
        lambda: torch.full((10**5, 10**5), 1.0),
        lambda: torch.ones(1).new_zeros(10**5, 10**5),
        lambda: torch.ones(1).new_full((10**5, 10**5), 0.0),
        lambda: torch.eye(10**5),
        lambda: torch.arange(10**10),
        lambda: torch.linspace(0, 1, 10**10),
        lambda: [torch.empty(10**7) for _ in range(20)],
    ):
        with pytest.raises(CheckpointError, match="asks for a model"), Allocations.of_file(100):
            build()


MEMORY = """
import resource, sys, clsfit
from clsfit.cli import main
main(["predict", sys.argv[1], sys.argv[3]])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main(["predict", sys.argv[2], sys.argv[3]])
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("name", ["width of 20,000", "options too many", "a million parts"])
def test_memory_is_bounded(name: str, forged: Forged, attacked: SimpleNamespace) -> None:
    file = forged((HOSTILE | TENSORS)[name])
    arguments = [attacked.run / "best.safetensors", file, attacked.data / "bars" / "000.png"]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    code, grown = done.stdout.split()[-2:]
    assert code == "4", done.stderr
    assert int(grown) < 350, f"{grown} MB"


def test_a_batch_that_only_the_file_asks_for_is_bounded(forged: Forged, attacked: SimpleNamespace) -> None:
    model = clsfit.load(forged(put("batch_size", value=10**12)))
    assert model.batch_size * 64 <= 2**31
    assert clsfit.load(attacked.run).batch_size == 16, "what training used stays"
    assert len(list(model.predict([attacked.data]))) == 32
