"""Real commands on a Parquet file: the same runs, to the bit, as on the folder and the table of the same pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from clsfit_parquet.source import parquet

from clsfit.data import canvases
from clsfit.data.columns import GUESSED
from clsfit.data.intake import open_path
from clsfit.data.prepare import Prepare

Clsfit = Callable[..., Any]
Write = Callable[..., Path]

OPTIONS = ("--epochs", 2, "--batch-size", 8, "--model", "small_cnn", "--device", "cpu")


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what a clock says."""
    clock = {"seconds", "train_images_per_second"}
    rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in clock} for row in rows]


def outcome(path: Path) -> tuple[Any, ...]:
    """The trained weights and what a run says of them; not the header, which names the data's plugin."""
    from clsfit.engine.state import from_blob
    from clsfit.storage import modelfile

    tensors = from_blob(modelfile.read(path / "last.safetensors").blob)
    return lines(path), (path / "split.csv").read_text(), {name: t.numpy().tobytes() for name, t in tensors.items()}


def test_the_same_run_as_on_the_folder_and_the_table(clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path) -> None:
    table = drawn.folder.parent / "beside.csv"
    rows = [f"{drawn.folder.name}/{path},{label}" for path, label in zip(drawn.paths, drawn.labels, strict=True)]
    table.write_text("\n".join(["path,label", *rows]))
    paths = drawn.columns() | {"path": [f"{drawn.folder.name}/{path}" for path in drawn.paths]}
    named = write(pa.table({"path": paths["path"], "label": drawn.labels}), name="named.parquet")
    named = named.rename(drawn.folder.parent / named.name)
    held = write(pa.table(drawn.structs()), row_group_size=10)
    data = {"folder": drawn.folder, "bytes": held, "table": table, "paths": named}
    for name, place in data.items():
        clsfit("train", place, *OPTIONS, "-o", tmp_path / name)
    assert outcome(tmp_path / "bytes") == outcome(tmp_path / "folder")
    assert outcome(tmp_path / "paths") == outcome(tmp_path / "table")


def test_canvases_are_those_of_the_folder(drawn: Any, write: Write) -> None:
    held = parquet(str(write(drawn.columns(), row_group_size=3)), GUESSED, None)
    made = []
    for source in (open_path(str(drawn.folder)), held):
        rows = np.arange(len(drawn.paths))
        built, bad = canvases.build(
            source, rows, Prepare(1, 6), cache="memory", workers=2, skip_bad=False, progress=None
        )
        assert not bad
        made.append([np.asarray(built.get(row)).tobytes() for row in rows.tolist()])
    assert made[0] == made[1]


def test_evaluate_resume_and_a_moved_file(clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path) -> None:
    file, run = write(drawn.structs()), tmp_path / "run"
    clsfit("train", file, *OPTIONS, "-o", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"] == {"name": "parquet", "path": str(file)}
    own = json.loads(clsfit("evaluate", run, "--json").stdout)
    assert own["loss"] == lines(run)[-1]["val/loss"]
    moved = file.rename(tmp_path / "moved.pq")
    assert f"the run's own data is no longer at {file}" in clsfit("evaluate", run, code=3).stderr
    assert "complete" in clsfit("train", moved, *OPTIONS, "-o", run, "--resume").stderr


def test_group_split_and_weight_columns(clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path) -> None:
    number = len(drawn.paths)
    split = ["test" if i // 3 % 5 == 0 else "" for i in range(number)]
    file = write(
        drawn.columns(split=split, group=[i // 3 for i in range(number)], weight=[1.0 + i % 2 for i in range(number)])
    )
    clsfit("train", file, *OPTIONS, "-o", tmp_path / "run")
    rows = [line.split(",") for line in (tmp_path / "run" / "split.csv").read_text().splitlines()[1:]]
    assert [row[3] == "test" for row in rows] == [name == "test" for name in split]
    assert {"train", "val"} <= {row[3] for row in rows}
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row[2], set()).add(row[3] if row[3] != "test" else "")
    assert all(len(side - {""}) <= 1 for side in sides.values())
    assert lines(tmp_path / "run") != []


def test_data_check_finds_duplicates(clsfit: Clsfit, drawn: Any, write: Write) -> None:
    columns = drawn.columns(split=["train"] * 40 + ["val"] * (len(drawn.paths) - 40))
    columns["image"][41] = columns["image"][0]
    columns["image"][5] = b"no picture"
    found = json.loads(clsfit("data", "check", write(columns), "--json").stdout)
    assert [sorted(pair["paths"]) for pair in found["duplicates"] if pair["kind"] == "exact"] == [
        sorted([drawn.paths[0], drawn.paths[41]])
    ]
    assert list(found["unreadable"]) == [drawn.paths[5]]


def test_data_split_writes_a_table_of_paths_and_refuses_bytes(
    clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path
) -> None:
    refused = clsfit("data", "split", write(drawn.columns()), "-o", tmp_path / "split.csv", code=3)
    assert "a table names pictures by their files, and these are in none" in refused.stderr
    named = write({"path": drawn.paths, "label": drawn.labels}, name="named.parquet")
    named = named.rename(drawn.folder / named.name)
    try:
        clsfit("data", "split", named, "-o", tmp_path / "split.csv")
    finally:
        named.unlink()
    assert len(open_path(str(tmp_path / "split.csv")).table()) == len(drawn.paths)


def test_a_picture_that_cannot_be_decoded_is_named(clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path) -> None:
    columns = drawn.columns()
    columns["image"][3] = columns["image"][3][:-40]
    failed = clsfit("train", write(columns), *OPTIONS, "-o", tmp_path / "run", code=3)
    assert drawn.paths[3] in failed.stderr
    clsfit("train", write(columns), *OPTIONS, "-o", tmp_path / "run", "--skip-bad")
    assert len(lines(tmp_path / "run")) == 2


@pytest.mark.parametrize("name", ["photos.parquet", "PHOTOS.PARQUET", "photos.pq"])
def test_the_ending_is_enough(clsfit: Clsfit, drawn: Any, write: Write, name: str) -> None:
    shown = clsfit("train", write(drawn.columns(), name=name), "--print-config").stdout
    assert yaml.safe_load(shown)["data"]["name"] == "parquet"


def test_the_run_is_not_written_over_the_file(clsfit: Clsfit, drawn: Any, write: Write) -> None:
    file = write(drawn.columns())
    before = file.read_bytes()
    said = clsfit("data", "check", file, "--html", file, code=2).stderr
    assert "it would be written into the data set" in said
    assert file.read_bytes() == before


def test_columns_and_splits_that_options_name(clsfit: Clsfit, drawn: Any, write: Write, tmp_path: Path) -> None:
    """They mean here what they mean for a table, rows without a label among them."""
    columns = drawn.structs()
    number = len(drawn.paths)
    columns["what"] = [None, *drawn.labels[1:]]
    columns["label"] = [str(row % 7) for row in range(number)]
    columns["who"] = [f"object {(row + 1) // 2}" for row in range(number)]
    columns["part"] = [("train", "train", "val", "test")[row // 2 % 4] for row in range(number)]
    file = write(pa.table(columns))
    given = ("--label-column", "what", "--group", "who")
    clsfit("train", file, *OPTIONS, *given, "--split-by", "ratio", "-o", tmp_path / "ratio")
    rows = [line.split(",") for line in (tmp_path / "ratio" / "split.csv").read_text().splitlines()[1:]]
    assert [row[1] for row in rows] == ["", *drawn.labels[1:]]
    assert rows[0][3] == "test"
    assert {row[3] for row in rows[1:]} == {"train", "val"}
    sides: dict[str, set[str]] = {}
    for row in rows[1:]:
        sides.setdefault(row[2], set()).add(row[3])
    assert {len(found) for found in sides.values()} == {1}
    json.loads(clsfit("evaluate", tmp_path / "ratio", "--json").stdout)
    said = clsfit("train", file, *OPTIONS, *given, "--split-by", "parts", "-o", tmp_path / "none", code=2).stderr
    assert "no column 'parts'" in said
