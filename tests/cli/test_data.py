"""``clsfit data`` as it is typed: its output, its exit codes, and that it writes nowhere else."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Drawn = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, drawn: Drawn) -> Path:
    return Path(drawn(tmp_path / "photos", {"a": 12, "b": 8}, size=24))


@pytest.fixture
def spoilt(photos: Path) -> Path:
    """A copy of the first picture in the other class, and one that is cut off."""
    first, second = sorted((photos / "a").iterdir())[:2]
    (photos / "b/zz.png").write_bytes(first.read_bytes())
    second.write_bytes(second.read_bytes()[:-40])
    return photos


def state(root: Path) -> dict[str, Any]:
    return {
        str(path): (path.stat().st_mtime_ns, path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest())
        for path in [root, *root.rglob("*")]
    }


def test_json_is_one_object_on_stdout(run: Run, spoilt: Path) -> None:
    done = run("data", "check", spoilt, "--json")
    found = json.loads(done.out)
    assert [*found] == ["pictures", "classes", "unreadable", "duplicates", "findings"]
    assert (found["pictures"], found["classes"], len(found["unreadable"])) == (21, {"a": 12, "b": 9}, 1)
    (pair,) = found["duplicates"]
    assert pair == {
        "paths": [pair["paths"][0], "b/zz.png"],
        "kind": "exact",
        "across_splits": False,
        "across_labels": True,
    }
    assert all(isinstance(line, str) for line in found["findings"])
    assert done.err == ""


def test_the_report_is_short_and_the_data_set_stays(run: Run, spoilt: Path) -> None:
    before = state(spoilt)
    for _ in range(2):
        done = run("data", "check", spoilt, "--workers", 2)
        assert done.out.startswith("pictures  21\nclasses   2: a 12, b 9;")
        assert "1 picture cannot be read" in done.out
        assert done.err == ""
    assert state(spoilt) == before


def test_strict_ends_with_3_after_the_report(run: Run, photos: Path, spoilt: Path, tmp_path: Path) -> None:
    done = run("data", "check", spoilt, "--strict", "--json", "--html", tmp_path / "page.html", code=3)
    assert json.loads(done.out)["pictures"] == 21
    assert (tmp_path / "page.html").stat().st_size > 1000
    assert done.err.startswith("clsfit: error: pictures that must not be: 1 unreadable, 1 with two labels\n")
    assert done.err.count("\n") == 3


@pytest.mark.parametrize("spoil", ["torn", "leak", "label", ""])
def test_each_fault_alone_is_refused_by_strict(run: Run, tmp_path: Path, drawn: Drawn, spoil: str) -> None:
    root = tmp_path / "photos"
    drawn(root / "train", {"a": 6, "b": 6}, size=24)
    drawn(root / "val", {"a": 2, "b": 2}, size=24, seed=9)
    one = sorted((root / "train/a").iterdir())[0]
    if spoil == "torn":
        (root / "val/a/zz.png").write_bytes(one.read_bytes()[:-30])
    if spoil:
        target = {"torn": "train/a/yy.png", "leak": "val/a/yy.png", "label": "train/b/yy.png"}[spoil]
        (root / target).write_bytes(one.read_bytes())
    run("data", "check", root)
    done = run("data", "check", root, "--strict", code=3 if spoil else 0)
    if spoil:
        assert {"torn": "1 unreadable\n", "leak": "1 in two splits\n", "label": "1 with two labels\n"}[
            spoil
        ] in done.err


def test_torch_is_not_imported(spoilt: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from clsfit.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'torch', 'torchvision', 'sklearn', 'scipy'} & sys.modules.keys()\n"
        "sys.exit(code)"
    )
    for words in (["check", spoilt], ["check", spoilt, "--html", "page.html"], ["split", spoilt, "-o", "split.csv"]):
        subprocess.run([sys.executable, "-c", program, "data", *words], check=True, cwd=tmp_path, capture_output=True)


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "photos", "--html", "photos/page.html"],
        ["data", "check", "photos/labels.csv", "--html", "photos/labels.csv"],
        ["data", "check", "photos", "--html", "nowhere/page.html"],
        ["data", "split", "photos", "-o", "photos/split.csv"],
        ["data", "split", "photos/labels.csv", "-o", "photos/labels.csv", "--overwrite"],
        ["data", "split", "photos", "-o", "split.txt"],
        ["data", "split", "photos", "-o", "split.csv", "--group", "parent", "--group-regex", "x"],
        ["data", "split", "photos", "-o", "split.csv", "--group-regex", "("],
        ["data", "split", "photos", "-o", "split.csv", "--val-fraction", "1"],
        ["data", "split", "photos", "-o", "split.csv", "--group", "who"],
        ["data", "split", "photos", "-o", "split.csv", "--split-by", "part"],
        ["data", "split", "photos", "-o", "split.csv", "--label-column", " "],
        ["data", "split", "photos/labels.csv", "-o", "split.csv", "--weight-column", "w"],
        ["data", "check", "photos", "--path-column", "x"],
        ["data", "check", "photos/labels.csv", "--label-column", "x"],
        ["data", "check", "photos", "--split-by", "ratio"],
        ["data", "check", "digits", "--split-by", "part"],
        ["data", "split", "photos"],
        ["data", "chek", "photos"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_leaves_everything_as_it_was(run: Run, photos: Path, words: list[str]) -> None:
    (photos / "labels.csv").write_text("path,label\na/00.png,a\nb/00.png,b\n")
    before = state(photos.parent)
    done = run(*words, code=2)
    assert done.err.startswith("clsfit: error: ")
    assert state(photos.parent) == before


def test_data_that_is_not_there_is_3(run: Run) -> None:
    run("data", "check", "nowhere", code=3)
    run("data", "split", "nowhere", "-o", "split.csv", code=3)


def test_a_data_set_of_a_plugin_is_checked_by_its_name(clsfit: Run) -> None:
    found = json.loads(clsfit("data", "check", "digits", "--json").stdout)
    assert (found["pictures"], len(found["classes"]), found["unreadable"]) == (1797, 10, [])
    assert found["duplicates"] == []
    done = clsfit("data", "split", "digits", "-o", "split.csv", code=3)
    assert "a table names pictures by their files" in done.stderr


def test_a_table_is_written_once(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("data", "split", photos, "-o", "split.csv")
    assert done.out == "split.csv\n"
    assert "20 pictures: train 16, val 4" in done.err
    first = (tmp_path / "split.csv").read_bytes()
    done = run("data", "split", photos, "-o", "split.csv", "--seed", 3, code=2)
    assert "--overwrite" in done.err
    assert (tmp_path / "split.csv").read_bytes() == first
    run("data", "split", photos, "-o", "split.csv", "--seed", 3, "--overwrite")
    assert (tmp_path / "split.csv").read_bytes() != first


@pytest.mark.parametrize("options", [[], ["--group-regex", r"\d(?=\.png)"]], ids=["plain", "groups"])
def test_training_on_the_table_is_training_on_the_folder(
    clsfit: Run, photos: Path, tmp_path: Path, options: list[str]
) -> None:
    clsfit("data", "split", photos, "-o", "split.csv", "--seed", 5, *options)
    fast = ["--model", "mlp", "--epochs", 1, "--seed", 5]
    clsfit("train", photos, "-o", "one", *fast, *options)
    clsfit("train", "split.csv", "-o", "two", *fast)
    rows = [list(csv.DictReader((tmp_path / name / "split.csv").open(newline=""))) for name in ("one", "two")]
    for row in rows[1]:
        row["path"] = row["path"].removeprefix("photos/")
    assert rows[0] == rows[1]
    assert {row["split"] for row in rows[0]} == {"train", "val"}


@pytest.fixture
def odd(photos: Path) -> Path:
    """A table of the photos, whose columns nobody can guess; with ``split``, which says something else."""
    lines = ["where,what,who,part,times,split"]
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        part = ("train", "val", "train", "test")[number % 4]
        lines.append(f"photos/{path.parent.name}/{path.name},{path.parent.name},p{number % 7},{part},2,none")
    table = photos.parent / "odd.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


ODD = ["--path-column", "where", "--label-column", "what"]


def test_check_by_the_columns_that_are_named(run: Run, odd: Path, photos: Path) -> None:
    first, *_, last = sorted(photos.rglob("*.png"))
    last.write_bytes(first.read_bytes())
    found = json.loads(run("data", "check", odd, *ODD, "--split-by", "part", "--json").out)
    assert (found["pictures"], found["classes"]) == (20, {"a": 12, "b": 8})
    assert [pair["across_splits"] for pair in found["duplicates"]] == [True]  # train and test
    assert "the column split does not say the split: --split-by does" in found["findings"]
    file = odd.parent / "s.csv"
    for part in ("train", "val"):
        rows = [(f"{p.parent.name}/{p.name}", part if p == last else "train") for p in photos.rglob("*.png")]
        file.write_text("path,split\n" + "".join(f"{path},{split}\n" for path, split in rows))
        found = json.loads(run("data", "check", photos, "--split-by", file, "--json").out)
        assert [pair["across_splits"] for pair in found["duplicates"]] == [part == "val"]
    run("data", "check", odd, *ODD, code=3)  # its column split is none


@pytest.mark.parametrize(
    "options",
    [["--split-by", "ratio", "--group", "who"], ["--split-by", "part", "--weight-column", "times"]],
    ids=["ratio", "column"],
)
def test_training_on_the_written_table_is_training_by_the_options(
    clsfit: Run, odd: Path, tmp_path: Path, options: list[str]
) -> None:
    clsfit("data", "split", odd, "-o", "split.csv", "--seed", 5, *ODD, *options)
    fast = ["--model", "mlp", "--epochs", 1, "--seed", 5]
    clsfit("train", odd, "-o", "one", *fast, *ODD, *options)
    clsfit("train", "split.csv", "-o", "two", *fast)
    assert (tmp_path / "one/split.csv").read_text() == (tmp_path / "two/split.csv").read_text()
    one, two = (json.loads((tmp_path / run / "metrics.jsonl").read_text()) for run in ("one", "two"))
    assert one["val/loss"] == two["val/loss"]


def test_the_split_of_a_file_is_written_and_measured(clsfit: Run, photos: Path, tmp_path: Path) -> None:
    pictures = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    parts = [("train", "val", "test")[number % 3] for number in range(len(pictures))]
    rows = [f"{path},{part},g{number // 2}\n" for number, (path, part) in enumerate(zip(pictures, parts, strict=True))]
    (tmp_path / "mine.csv").write_text("path,split\n" + "".join(row.rpartition(",")[0] + "\n" for row in rows))
    (tmp_path / "torn.csv").write_text("path,split,group\n" + "".join(rows))
    clsfit("data", "split", photos, "-o", "split.csv", "--split-by", "mine.csv")
    with (tmp_path / "split.csv").open(newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == parts
    for words in (["data", "split", photos, "-o", "n.csv"], ["bench", photos, "--model", "mlp", "--seconds", "0.01"]):
        refused = clsfit(*words, "--split-by", "torn.csv", code=3)
        assert "groups have pictures in more than one split" in refused.stderr


def test_evaluate_preview_and_bench_take_them(clsfit: Run, odd: Path, tmp_path: Path) -> None:
    options = [*ODD, "--split-by", "part"]
    clsfit("data", "preview", odd, "-o", "seen.png", "--model", "mlp", *options)
    fast = ["--model", "mlp", "--seconds", "0.01", "--json"]
    refused = clsfit("bench", odd, *fast, *options, "--group", "who", code=3)
    assert "groups have pictures in more than one split" in refused.stderr
    found = json.loads(clsfit("bench", odd, *fast, *options).stdout)
    assert found["setting"]["pictures"] == 20
    clsfit("train", odd, "-o", "run", "--model", "mlp", "--epochs", 1, *options)
    own = clsfit("evaluate", "run", "--json").stdout
    assert clsfit("evaluate", "run", odd, "--json", *options).stdout == own
    assert clsfit("evaluate", "run", odd, "--json", *ODD, "--split-by", "run/split.csv").stdout == own
    for words in ([*ODD], [odd, *ODD, "--split-by", "ratio"], [odd, *ODD[:2], "--label-column", "no"]):
        assert clsfit("evaluate", "run", *words, code=2).stderr.startswith("clsfit: error: ")


def test_the_page_is_written_whole_or_not(clsfit: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    clsfit("data", "check", photos, "--html", "page.html", code=5, CLSFIT_FAILPOINT="survey:rename:enospc")
    assert (tmp_path / "page.html").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["page.html", "photos"]
    clsfit("data", "check", photos, "--html", "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_table_with_its_own_splits_is_checked(run: Run, photos: Path, tmp_path: Path) -> None:
    one, two, three = (f"photos/a/{path.name}" for path in sorted((photos / "a").iterdir())[:3])
    (tmp_path / "copy.png").write_bytes((tmp_path / one).read_bytes())
    rows = [(one, "x", "train"), (two, "y", ""), (three, "x", "val"), ("copy.png", "x", "test"), ("gone.png", "y", "")]
    (tmp_path / "labels.csv").write_text("".join(",".join(row) + "\n" for row in [("path", "label", "split"), *rows]))
    done = run("data", "check", "labels.csv", "--json", "--strict", code=3)
    found = json.loads(done.out)
    assert found["classes"] == {"x": 3, "y": 2}
    assert found["unreadable"] == ["gone.png"]
    assert found["duplicates"] == [
        {"paths": [one, "copy.png"], "kind": "exact", "across_splits": True, "across_labels": False}
    ]


def test_a_name_of_any_bytes_is_json(clsfit: Run, photos: Path) -> None:
    with open(os.fsencode(photos) + b"/b/\xff\xfe.png", "wb") as file:
        file.write(sorted((photos / "a").iterdir())[0].read_bytes())
    found = json.loads(clsfit("data", "check", photos, "--json").stdout.encode("ascii"))
    assert os.fsencode(found["duplicates"][0]["paths"][1]) == b"b/\xff\xfe.png"
    done = clsfit("data", "check", photos, "--strict", "--html", "page.html", code=3)
    assert r"b/\udcff\udcfe.png" in done.stdout
    done = clsfit("data", "split", photos, "-o", "split.csv", code=3)
    assert r"\udcff" in done.stderr
