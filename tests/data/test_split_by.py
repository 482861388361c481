"""Where a split comes from: divided anew, folders, a column, a table of its own; and its groups are never divided."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clsfit
from clsfit import Component
from clsfit.config import Selection
from clsfit.data.intake import open_path
from clsfit.data.split_by import columns_of, divide, is_file
from clsfit.data.table import SampleTable
from clsfit.errors import CheckpointError, ClsfitError, ConfigError, DataError
from clsfit.offered import open_offered
from clsfit.parameters import own_parameters
from clsfit.registry import Offer

OPTIONS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [4]},
    "metric": ["none", "accuracy"],
    "epochs": 1,
    "batch_size": 16,
    "threads": 1,
    "verbosity": 1,
}
PARTS = ("train", "train", "val", "train", "test")
HEADER = ("file", "what", "who", "part", "times", "split")


def train(data: Path | str, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(data, **(OPTIONS | changed))


def split_of(run: Path) -> dict[str, str]:
    with (run / "split.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def divided(data: Path, by: str, **columns: str) -> SampleTable:
    source = open_path(str(data), columns=columns_of(split_by=by, **columns))
    return divide(source, source.table(), by).table


@pytest.fixture
def parted(tmp_path: Path, pictures: Path) -> Path:
    """The session's 63 pictures in folders train, val and test, five to a person; in t.csv under odd columns.

    Its column ``split`` says something else.
    """
    rows = [HEADER]
    for label in sorted(path.name for path in pictures.iterdir()):
        for number, path in enumerate(sorted((pictures / label).iterdir())):
            part = PARTS[number % 5]
            place = tmp_path / "parted" / part / label / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            row = (f"parted/{part}/{label}/{path.name}", label, f"{label}{number % 5}", part, "1", f"fold{number % 3}")
            rows.append(row)
    write(tmp_path / "t.csv", rows)
    return tmp_path / "parted"


def test_a_file_is_known_by_its_ending() -> None:
    for name in ("a.csv", "x/a.TSV", "a.txt", "a.jsonl", "a.ndjson", ".csv"):
        assert is_file(name)
    for name in ("ratio", "folder", "csv", "part", "a.csv.x", "my split"):
        assert not is_file(name)


def test_ratio_divides_all_anew(parted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(parted, split_by="ratio", val_fraction=0.3, output=tmp_path / "run").directory
    assert "all 63 labelled pictures are divided anew, those of a test split too" in capsys.readouterr().err
    splits = split_of(run)
    assert sorted(splits.values()) == ["train"] * 44 + ["val"] * 19
    assert {splits[path] for path in splits if path.startswith("test/")} == {"train", "val"}
    again = train(tmp_path / "t.csv", label_column="what", split_by="ratio", output=tmp_path / "other").directory
    assert set(split_of(again).values()) == {"train", "val"}
    assert "the column split does not say the split" in capsys.readouterr().err


def test_ratio_leaves_what_has_no_label(tmp_path: Path, make_tree: Callable[..., Path]) -> None:
    root = make_tree([f"{i}.png" for i in range(6)])
    rows = [("path", "label", "split"), *((f"{i}.png", "ab"[i % 2] if i < 5 else "", "test") for i in range(6))]
    table = divided(write(root / "t.csv", rows), "ratio")
    assert table.splits == ("",) * 5 + ("test",)


def test_ratio_and_no_validation_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--val-fraction 0 does not divide"):
        train("digits", split_by="ratio", val_fraction=0)


def test_folds_of_all_that_ratio_pools(parted: Path, tmp_path: Path) -> None:
    held: list[str] = []
    for fold in (1, 2, 3):
        run = train(parted, split_by="ratio", folds=3, fold=fold, output=tmp_path / str(fold)).directory
        held += [path for path, split in split_of(run).items() if split == "val"]
    assert len(held) == len(set(held)) == 63


@pytest.mark.parametrize("by", ["folder", "part", "s.csv"])
def test_folds_and_a_split_that_is_there(by: str, parted: Path, tmp_path: Path) -> None:
    rows = [("path", "split"), *((str(path.relative_to(tmp_path)), "val") for path in parted.rglob("*.png"))]
    rows[1] = (rows[1][0], "train")
    write(tmp_path / "s.csv", [rows[0], *((path, path.split("/")[1]) for path, _ in rows[1:])])
    by = str(tmp_path / by) if by.endswith("csv") else by
    with pytest.raises(ConfigError, match="--folds has no effect: --split-by"):
        train(tmp_path / "t.csv", label_column="what", split_by=by, folds=3, fold=1, dry_run=True)


def test_folder_is_for_split_folders(parted: Path, pictures: Path) -> None:
    assert divided(parted, "folder").splits == open_path(str(parted)).table().splits
    with pytest.raises(DataError, match="no split folders"):
        divided(pictures, "folder")


def test_folder_of_an_archive(parted: Path, pictures: Path, pack: Callable[..., Path]) -> None:
    assert set(divided(pack(parted), "folder").splits) == {"train", "val", "test"}
    with pytest.raises(DataError, match="no split folders"):
        divided(pack(pictures, "stored.zip"), "folder")


def test_folder_of_a_tables_paths(parted: Path, tmp_path: Path) -> None:
    table = divided(tmp_path / "t.csv", "folder", label_column="what")
    assert list(table.splits) == [path.split("/")[1] for path in table.paths]


def test_folder_is_the_first_that_is_a_splits_name(make_tree: Callable[..., Path]) -> None:
    root = make_tree(["x/Valid/train/a.png", "train/b.png", "y/test/val.png", "test.png"], "train")
    rows = [("path", "label"), ("x/Valid/train/a.png", "a"), (str(root / "train/b.png"), "b"), ("y/test/val.png", "b")]
    assert divided(write(root / "t.csv", rows), "folder").splits == ("val", "train", "test")
    with pytest.raises(DataError, match="no folder is called train, val") as caught:
        divided(write(root / "t.csv", [*rows, ("test.png", "a")]), "folder")
    assert caught.value.where == "test.png"


def test_a_column_is_the_split(parted: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "t.csv", label_column="what", split_by="part", output=tmp_path / "run").directory
    assert all(split == path.split("/")[1] for path, split in split_of(run).items())
    with pytest.raises(DataError, match="split 'bars0' is not known") as caught:
        train(tmp_path / "t.csv", label_column="what", split_by="who")
    assert "--split-by" in caught.value.remedy


@pytest.mark.parametrize("by", ["part", "folder", "s.csv"])
def test_a_fraction_without_effect(by: str, parted: Path, tmp_path: Path) -> None:
    rows = [(str(path.relative_to(tmp_path)), path.parts[-3]) for path in parted.rglob("*.png")]
    write(tmp_path / "s.csv", [("path", "split"), *rows])
    by = str(tmp_path / by) if by.endswith("csv") else by
    with pytest.raises(ConfigError, match=f"--val-fraction has no effect: --split-by {by} says"):
        train(tmp_path / "t.csv", label_column="what", split_by=by, val_fraction=0.3, dry_run=True)


SOURCES = ["ratio", "folder", "part", "file"]


@pytest.mark.parametrize("by", SOURCES)
def test_a_group_on_two_sides(by: str, parted: Path, tmp_path: Path) -> None:
    """Persons are on one side; pairs of neighbours, of which the odd ones are elsewhere, are not."""
    table = tmp_path / "t.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    write(table, [[*rows[0], "pair"], *([*row, str(number // 2)] for number, row in enumerate(rows[1:]))])
    write(tmp_path / "s.csv", [("path", "split"), *((row[0], row[3]) for row in rows[1:])])
    options = {"label_column": "what", "split_by": str(tmp_path / "s.csv") if by == "file" else by, "dry_run": True}
    train(table, group="who", **options)
    if by == "ratio":
        run = train(table, group="pair", **options | {"dry_run": False, "output": tmp_path / "run"}).directory
        with (run / "split.csv").open(newline="") as file:
            sides = {(row["group"], row["split"]) for row in csv.DictReader(file)}
        assert len(sides) == len({group for group, _ in sides}) == 32
        return
    with pytest.raises(DataError, match="groups have pictures in more than one split"):
        train(table, group="pair", **options)


def test_the_groups_of_the_file(parted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()][1:]
    plain = write(tmp_path / "p.csv", [("path", "label", "group"), *((row[0], row[1], row[0]) for row in rows)])
    overlapping = [(row[0], row[3], str(number // 2)) for number, row in enumerate(rows)]
    file = write(tmp_path / "s.csv", [("path", "split", "group"), *overlapping])
    with pytest.raises(DataError, match="more than one split"):
        train(plain, split_by=str(file))
    train(plain, split_by=str(file), group="group", dry_run=True)  # --group says otherwise
    capsys.readouterr()
    whole = [(row[0], row[3], row[2]) for row in rows]
    run = train(plain, split_by=str(write(file, [("path", "split", "group"), *whole])), output=tmp_path / "run")
    assert "the groups of --split-by are used" in capsys.readouterr().err
    with (run.directory / "split.csv").open(newline="") as opened:
        assert {row["group"] for row in csv.DictReader(opened)} == {row[2] for row in rows}
    file.unlink()
    (run.directory / "summary.json").unlink()
    train(plain, resume=True, output=run.directory)
    assert clsfit.load(run.directory).evaluate().split == "val"


def test_a_column_that_names_no_group(make_tree: Callable[..., Path]) -> None:
    root = make_tree([f"{i}.png" for i in range(4)])
    rows = [("path", "label", "who"), *((f"{i}.png", "ab"[i % 2], "") for i in range(4))]
    with pytest.raises(DataError, match="--group who: the column names no group"):
        train(write(root / "t.csv", rows), group="who")


def test_a_run_again_by_its_split(
    parted: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded, so that the file is needed once only; wherever it is called from."""
    first = train(pictures, seed=3, output=tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    shutil.copy(first.directory / "split.csv", "mine.csv")
    second = train(pictures, split_by="mine.csv", output=tmp_path / "second")
    assert split_of(second.directory) == split_of(first.directory) != split_of(train(pictures).directory)
    assert f"split_by: {tmp_path}/mine.csv\n" in (second.directory / "config.yaml").read_text()
    (tmp_path / "mine.csv").unlink()
    monkeypatch.chdir(parted)
    (second.directory / "summary.json").unlink()
    train(pictures, output=second.directory, resume=True)
    train(pictures, output=second.directory, resume=True, split_by="../mine.csv")
    assert clsfit.load(second.directory).evaluate().scores["loss"] == second.metrics[0]["val/loss"]
    for other in ("ratio", "folder", "other.csv"):
        with pytest.raises(CheckpointError, match="split_by: ") as caught:
            train(pictures, output=second.directory, resume=True, split_by=other)
        assert caught.value.exit_code == 4
    before = split_of(second.directory)
    train(pictures, output=second.directory, resume=True, split_by="ratio", accept_changes=True)
    assert split_of(second.directory) == before  # the record wins
    with pytest.raises(DataError, match="does not exist"):
        train(pictures, split_by=str(tmp_path / "mine.csv"))


@pytest.mark.parametrize("place", ["s.csv", "below/deep/s.csv"])
@pytest.mark.parametrize("table", [False, True], ids=["folder", "table"])
def test_the_table_of_data_split(clsfit: Any, pictures: Path, tmp_path: Path, place: str, table: bool) -> None:
    """Its paths are relative to its own place, a run's to DATA; both are found."""
    shutil.copytree(pictures, tmp_path / "own" / "photos")
    data = tmp_path / "own" / "photos"
    if table:
        paths = [path.relative_to(tmp_path / "own") for path in sorted(data.rglob("*.png"))]
        data = write(tmp_path / "own" / "t.csv", [("path", "label"), *((str(p), p.parts[1]) for p in paths)])
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    clsfit("data", "split", data, "-o", place, "--seed", 5)
    by_own = divided(data, str(tmp_path / place))
    run = train(data, seed=5, output=tmp_path / "run").directory
    by_run = divided(data, str(run / "split.csv"))
    assert by_own.splits == by_run.splits
    assert set(by_own.splits) == {"train", "val"}


def test_paths_may_be_written_otherwise(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree(["a/1.png", "b/2.png", "b/3.png", "a/4.png"])
    names = ["./a/1.png", "b//2.png", str(root / "b/3.png"), "a/../a/4.png"]
    file = write(tmp_path / "s.csv", [("split", "file"), *(("train", name) for name in names)])
    assert divided(root, str(file)).splits == ("train",) * 4
    with pytest.raises(DataError, match="is named twice") as caught:
        divided(root, str(write(file, [("path", "split"), *((name, "val") for name in [*names, "a/1.png"])])))
    assert "lines 2 and 6" in caught.value.where


def test_pictures_of_one_only(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree([f"{label}/{i}.png" for label in "ab" for i in range(5)])
    rows = [(f"b/{i}.png", "val") for i in range(9)]
    with pytest.raises(DataError) as caught:
        divided(root, str(write(tmp_path / "s.csv", [("path", "split"), *rows])))
    assert caught.value.where == (
        "5 of DATA only (a/0.png, a/1.png, a/2.png, ...); 4 of the file only (b/5.png, b/6.png, b/7.png, ...)"
    )
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 3


def test_the_file_of_a_run_that_left_pictures_out(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    (data / "bars" / "000.png").write_bytes(b"no picture")
    run = train(data, skip_bad=True, output=tmp_path / "run").directory
    file = str(run / "split.csv")
    assert train(data, skip_bad=True, split_by=file, dry_run=True).metrics == []
    with pytest.raises(DataError, match="is not of the pictures of DATA"):
        train(data, split_by=file, dry_run=True)
    shutil.copy(data / "bars" / "001.png", data / "bars" / "000.png")
    with pytest.raises(DataError, match="is not of the pictures of DATA") as caught:
        train(data, skip_bad=True, split_by=file, dry_run=True)
    assert caught.value.where == "1 of DATA only (bars/000.png)"


@pytest.mark.parametrize("options", [{}, {"group_regex": r"^\w+/\d\d"}])
def test_evaluate_knows_what_its_run_left_out(pictures: Path, tmp_path: Path, options: dict[str, str]) -> None:
    """Also where the picture's group is validated."""
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for number in range(0, 30, 10):
        (data / "bars" / f"{number:03d}.png").write_bytes(b"no picture")
    run = train(data, skip_bad=True, output=tmp_path / "run", **options).directory
    judged = clsfit.load(run).evaluate().rows
    assert {row.path for row in judged} == {path for path, split in split_of(run).items() if split == "val"}
    (data / "bars" / "new.png").write_bytes((data / "bars" / "001.png").read_bytes())
    with pytest.raises(CheckpointError, match="not the one that the run recorded"):
        clsfit.load(run).evaluate()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("path,label\na/0.png,a\n", "no column for the split"),
        ("split,label\ntrain,a\n", "no column for the path"),
        ("path,split\na/0.png,half\n", "split 'half' is not known"),
        ("path,split,label\na/0.png,train,b\na/1.png,train,\nb/2.png,val,b\nb/3.png,train,\n", "label of a/0.png is a"),
        ("path,split\na/0.png,val\na/1.png,train\nb/2.png,val\nb/3.png,test\n", "to train on of the class b"),
        ("path,split,group\na/0.png,val,x\na/1.png,train,\nb/2.png,val,\nb/3.png,train,\n", "the group is empty"),
        ("", "the table is empty"),
    ],
)
def test_files_that_are_refused(content: str, what: str, make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = make_tree(["a/0.png", "a/1.png", "b/2.png", "b/3.png"])
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError, match=what) as caught:
        train(root, split_by=str(tmp_path / "s.csv"), dry_run=True)
    assert "s.csv" in caught.value.where
    assert len(str(caught.value).splitlines()) <= 3


def test_a_file_without_validation_is_divided_as_a_column_would_be(pictures: Path, tmp_path: Path) -> None:
    paths = [str(path.relative_to(pictures)) for path in pictures.rglob("*.png")]
    rows = [(path, "test" if path.endswith("0.png") else "") for path in paths]
    file = write(tmp_path / "s.jsonl", [])
    file.write_text("".join(f'{{"path": "{path}", "split": "{split}"}}\n' for path, split in rows))
    run = train(pictures, split_by=str(file), val_fraction=0.25, output=tmp_path / "run").directory
    splits = split_of(run)
    assert all((splits[path] == "test") == bool(split) for path, split in rows)
    left = sum(split != "test" for split in splits.values())
    assert sum(split == "val" for split in splits.values()) == round(left * 0.25)


def test_a_run_does_not_write_over_its_split(pictures: Path, tmp_path: Path) -> None:
    write(tmp_path / "split.csv", [("path", "split")])
    with pytest.raises(ConfigError, match="write over the table that says its split"):
        train(pictures, output=tmp_path, split_by=str(tmp_path / "split.csv"))


@pytest.mark.parametrize(
    "options",
    [{"split_by": "part"}, {"label_column": "what"}, {"group": "who"}, {"path_column": "x"}, {"weight_column": "x"}],
)
@pytest.mark.parametrize("data", ["digits", "folder", "zip"])
def test_columns_of_what_is_no_table(
    data: str, options: dict[str, str], pictures: Path, pack: Callable[..., Path]
) -> None:
    place = {"folder": pictures, "zip": pack(pictures)}.get(data, data)
    with pytest.raises(ClsfitError, match="DATA is no table") as caught:
        train(place, **options)
    assert caught.value.exit_code == 2


def test_evaluate_reads_a_table_as_its_run_did(parted: Path, tmp_path: Path) -> None:
    columns = {"path_column": "where", "label_column": "what", "weight_column": "times"}
    table = tmp_path / "t.csv"
    text = table.read_text().replace("file,", "where,", 1)
    table.write_text(text.replace("bars0,train,1,", "bars0,train,3,").replace("dots2,val,1,", "dots2,val,5,"))
    run = train(table, **columns, split_by="part", group="who", output=tmp_path / "run")
    model = clsfit.load(run.directory)
    assert model.evaluate().scores["loss"] == run.metrics[0]["val/loss"]
    given = model.evaluate(str(table), **columns, split_by="part")
    assert (given.split, given.scores) == ("val", model.evaluate().scores)
    assert model.evaluate(str(table), **columns, split_by="folder").scores == given.scores
    assert model.evaluate(str(table), **columns, split_by=str(run.directory / "split.csv")).scores == given.scores
    assert (
        model.evaluate(str(table), **columns | {"weight_column": None}, split_by="part").scores["loss"]
        != given.scores["loss"]
    )
    with pytest.raises(DataError, match="no column for the label"):
        model.evaluate(str(table), path_column="where")
    with pytest.raises(ConfigError, match="--split-by has no effect without DATA"):
        model.evaluate(split_by="part")
    with pytest.raises(ConfigError, match="ratio"):
        model.evaluate(str(table), split_by="ratio")


@pytest.mark.parametrize("options", [{"group": "parent"}, {"group_regex": r"\d(?=\.png)"}])
def test_evaluate_where_the_groups_were_not_the_columns(
    parted: Path, pictures: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    rows = []
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        place = tmp_path / "people" / path.parent.name / f"p{number % 7}" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        rows.append((os.path.relpath(place, tmp_path), path.parent.name, "one" if number % 2 else "two"))
    table = write(tmp_path / "g.csv", [("path", "label", "group"), *rows])
    run = train(table, **options, output=tmp_path / "run")
    assert clsfit.load(run.directory).evaluate().scores["loss"] == run.metrics[0]["val/loss"]


@pytest.mark.parametrize("by", [None, "ratio"])
@pytest.mark.parametrize("group", ["none", "who"])
def test_the_order_of_rows_and_the_workers_do_not_matter(
    parted: Path, tmp_path: Path, by: str | None, group: str
) -> None:
    head, *lines = (tmp_path / "t.csv").read_text().replace("split\n", "other\n", 1).splitlines()
    found = []
    for number, workers in enumerate((0, 1, 3)):
        order = np.random.default_rng(number).permutation(len(lines)).tolist()
        table = tmp_path / f"t{number}.csv"
        table.write_text("\n".join([head, *(lines[i] for i in order)]))
        options = {"label_column": "what", "group": group, "workers": workers, "seed": 5}
        run = train(table, **options, **({"split_by": by} if by else {}), output=tmp_path / f"run{number}").directory
        found.append(split_of(run))
    assert [list(one) for one in found[:2]] != [list(found[0])] * 2  # the rows are in another order
    assert found[0] == found[1] == found[2]


_FACTORIES = """
from clsfit.data.intake import open_path


def scans(path, columns):
    return open_path(path, columns=columns)


def plain(path):
    return open_path(path)
"""


def test_a_plugins_data_set_gets_the_columns(
    parted: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("scans")
    (place / "scans_of_the_test.py").write_text(_FACTORIES)
    monkeypatch.syspath_prepend(place)

    def opened(name: str, **options: str) -> Any:
        offer = Offer("dataset", Component(name, f"scans_of_the_test:{name}", "help"), "x", "clsfit-x", "1")
        assert [parameter.name for parameter in own_parameters(offer)] == ["path"]  # it is no option
        selection = Selection(name, {"path": str(tmp_path / "t.csv")}, offer)
        return open_offered(selection, columns=columns_of(**options))

    table = opened("scans", label_column="what", split_by="part", group="who").table()
    assert list(table.splits) == [path.split("/")[1] for path in table.paths]
    assert len(set(table.groups)) == 15
    with pytest.raises(ConfigError, match="--label-column what names a column, but DATA is no table"):
        opened("plain", label_column="what")
    for by in ("ratio", "folder", "s.csv"):
        assert set(opened("scans", label_column="what", split_by=by).table().splits) == {""}
