"""Tables and groups in whole runs: named, split, recorded, resumed, judged."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import clsfit
from clsfit.errors import CheckpointError, ConfigError, DataError

OPTIONS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [4]},
    "metric": ["none", "accuracy"],
    "epochs": 1,
    "batch_size": 16,
    "threads": 1,
    "verbosity": 0,
}


def train(data: Path | str, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(data, **(OPTIONS | changed))


def split_of(run: Path) -> list[dict[str, str]]:
    with (run / "split.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def people(tmp_path: Path, pictures: Path) -> Path:
    """The session's 63 pictures with three to a person: CLASS/PERSON/NUMBER.png, and persons.csv beside the folder."""
    lines = []
    for label in sorted(path.name for path in pictures.iterdir()):
        for number, path in enumerate(sorted((pictures / label).iterdir())):
            place = tmp_path / "people" / label / f"{label}{number // 3:02d}"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / f"{number}.png")
            lines.append(f"people/{label}/{place.name}/{number}.png;{label};{place.name}")
    (tmp_path / "persons.csv").write_text("\n".join(["file;label;group", *sorted(lines)]))
    return tmp_path / "people"


def test_recorded_resumed_and_not_to_be_changed(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(people, output=tmp_path / "run", group="parent", verbosity=1).directory
    assert "split by 21 groups: 17 train, 4 val; class shares in val" in capsys.readouterr().err
    before = split_of(run)
    sides: dict[str, set[str]] = {}
    for row in before:
        assert row["group"] == row["path"].split("/")[1]
        sides.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert "group: parent\ngroup_regex: none\n" in (run / "config.yaml").read_text()
    with pytest.raises(CheckpointError, match="group: parent -> none"):
        train(people, output=run, resume=True, group="none")
    with pytest.raises(CheckpointError, match="group_regex: none -> x"):
        train(people, output=run, resume=True, group="none", group_regex="x")
    (run / "summary.json").unlink()
    train(people, output=run, resume=True)
    assert split_of(run) == before
    with pytest.raises(DataError, match="more than one split"):  # the record is not split anew
        train(people, output=run, resume=True, group="none", group_regex=r"\d\.png", accept_changes=True)


def test_a_table_trains_as_its_folder_does(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_folder = train("people", group="parent")
    by_table = train("persons.csv")
    assert by_table.directory == Path("runs/persons-mlp")
    assert by_folder.directory == Path("runs/people-mlp")
    assert by_table.metrics[0]["val/loss"] == by_folder.metrics[0]["val/loss"]
    rows = split_of(by_table.directory)
    assert [row["path"] for row in rows][:1] == ["people/bars/bars00/0.png"]
    assert {row["group"]: row["split"] for row in rows} == {
        row["group"]: row["split"] for row in split_of(by_folder.directory)
    }
    model = clsfit.load(by_table.directory)
    assert model.evaluate().scores["loss"] == by_table.metrics[0]["val/loss"]
    assert len(model.evaluate("persons.csv").rows) == 63
    (tmp_path / "other.csv").write_text("file,label\npeople/bars/bars00/0.png,cars\npeople/bars/bars00/1.png,bars\n")
    with pytest.raises(DataError, match="the model does not know the class cars"):
        model.evaluate("other.csv")
    again = train("persons.csv", output=by_table.directory, resume=True)
    assert again.summary == by_table.summary


def test_missing_pictures(people: Path, tmp_path: Path) -> None:
    table = tmp_path / "persons.csv"
    for number in range(4):
        (people / f"bars/bars00/{number}.png").unlink(missing_ok=True)
    with pytest.raises(DataError) as caught:
        train(table, output=tmp_path / "run")
    assert "3 pictures cannot be read" in caught.value.what
    assert caught.value.where.count("no such file or directory") == 3
    assert "relative to the table's folder" in caught.value.remedy  # told before anything is decoded
    run = train(table, output=tmp_path / "run", skip_bad=True).directory
    assert json.loads((run / "environment.json").read_text())["data"]["left_out"] == [
        f"people/bars/bars00/{number}.png" for number in range(3)
    ]
    assert len(split_of(run)) == 60


def test_a_changed_weight_is_other_data(people: Path, tmp_path: Path) -> None:
    table = tmp_path / "persons.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ";weight", *(line + ";1.5" for line in lines[1:])]))
    run = train(table, output=tmp_path / "run").directory
    (run / "summary.json").unlink()
    table.write_text(table.read_text().replace("1.5", "2.5", 1))
    with pytest.raises(CheckpointError, match="not the one"):
        train(table, output=run, resume=True)


def test_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unterminated"):
        train("digits", group_regex="(")
    with pytest.raises(ConfigError, match="say what a group is"):
        train("digits", group_regex="x", group="parent")
    with pytest.raises(ConfigError, match="no effect"):
        train("digits", group_regex=r"^\d{3}", val_fraction=0)
    (tmp_path / "split.csv").write_text("path,label\na.png,a\nb.png,b\n")
    with pytest.raises(ConfigError, match="write over the table"):
        train(tmp_path / "split.csv", output=tmp_path)


def test_a_plugins_data_set_by_pattern() -> None:
    assert train("digits", group_regex=r"^\d{3}", dry_run=True).metrics == []
