"""``evaluate`` and ``predict`` on a model that was really trained: formats, exit codes, damage."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsfit.cli import main

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    metrics = ["--metric", "auroc", "--metric", "balanced_accuracy", "--metric.mae.order", "rings,bars,dots"]
    assert main(["train", str(pictures), "--model", "mlp", "--epochs", "2", *metrics, "-q", "-o", str(folder)]) == 0
    return folder


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_train_prints_the_folder_alone(pictures: Path, run: Run) -> None:
    done = run("train", pictures, "--model", "mlp", "--epochs", 1, "-o", "here", "-q")
    assert done.out == "here\n"
    assert done.err == ""
    assert Path("here", "summary.json").exists()
    run("train", pictures, "-o", "here", code=2)


def test_evaluate_json_is_the_last_validation(trained: Path, run: Run) -> None:
    scores = json.loads(run("evaluate", trained, "--json").out)
    best = json.loads((trained / "summary.json").read_text())["best"]["epoch"]
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    row = next(row for row in rows if row["epoch"] == best)
    assert {name: scores[name] for name in ("loss", "accuracy", "f1")} == {
        name: row[f"val/{name}"] for name in ("loss", "accuracy", "f1")
    }
    by_class = scores["per_class"]["f1"]
    assert list(by_class) == ["bars", "dots", "rings"]
    assert sum(by_class.values()) / 3 == pytest.approx(scores["f1"]), "f1 is their mean"


def test_evaluate_finds_a_data_set_that_is_named_with_its_provider(run: Run) -> None:
    run("train", "digits", "--model", "mlp", "--epochs", 1, "-o", "own", "-q")
    config = Path("own", "config.yaml")
    plain = config.read_text()
    config.write_text(plain.replace("{name: digits}", '{name: "clsfit:digits"}'))  # as of one of two strangers
    assert config.read_text() != plain
    last = json.loads(Path("own", "metrics.jsonl").read_text().splitlines()[-1])
    assert json.loads(run("evaluate", "own", "--json").out)["loss"] == last["val/loss"]
    run("evaluate", "own", "clsfit:digits")
    assert "there is no 'nobody:digits'" in run("evaluate", "own", "nobody:digits", code=3).err


def test_a_damaged_place_of_the_data_is_no_bug(run: Run) -> None:
    run("train", "digits", "--model", "mlp", "--epochs", 1, "-o", "own", "-q")
    config = Path("own", "config.yaml")
    config.write_text(config.read_text().replace("{name: digits}", "{name: digits, path: 3}"))
    assert "'path'" in run("evaluate", "own", "--predictions", "out.csv", code=8).err


def test_evaluate_for_people(trained: Path, run: Run) -> None:
    text = run("evaluate", trained).out
    assert text.startswith("loss ")
    assert "rings" in text


def test_undefined_classes_are_named(trained: Path, run: Run, drawn: Any) -> None:
    data = drawn(Path("two"), {"bars": 4, "dots": 3}, size=8)
    done = run("evaluate", trained, data)
    header, *rows = done.out.split("\n\n")[1].splitlines()
    names = header.split()
    by_class = {row.split()[0]: dict(zip(names, row.split(), strict=True)) for row in rows}
    for name in ("auroc", "balanced_accuracy", "mae"):
        assert f"note: {name} is undefined for 1 of 3 classes, left out of its value: rings\n" in done.err
        assert [label for label, row in by_class.items() if row[name] == "undefined"] == ["rings"]
    scores = json.loads(run("evaluate", trained, data, "--json").out)
    assert scores["per_class"]["auroc"] | {"bars": 0, "dots": 0} == {"bars": 0, "dots": 0, "rings": None}
    assert scores["balanced_accuracy"] is not None
    assert run("evaluate", trained).err == "", "nothing is undefined where every class occurs"


def test_evaluate_writes_predictions_that_give_the_scores(trained: Path, run: Run) -> None:
    scores = json.loads(run("evaluate", trained, "--json", "--predictions", "p.csv").out)
    rows = read(Path("p.csv").read_text())
    assert list(rows[0]) == ["path", "label", "predicted", "probability", "p(bars)", "p(dots)", "p(rings)"]
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right / len(rows) == scores["accuracy"]
    for row in rows:
        assert row[f"p({row['predicted']})"] == row["probability"]
    run("evaluate", trained, "--predictions", "p.jsonl")
    lines = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert [{k: v if isinstance(v, str) else repr(v) for k, v in line.items()} for line in lines] == rows


def test_fail_under(trained: Path, run: Run) -> None:
    run("evaluate", trained, "--fail-under", "accuracy=0", "--fail-under", "f1=0")
    done = run("evaluate", trained, "--json", "--fail-under", "accuracy=0", "--fail-under", "f1=1.5", code=9)
    assert "f1 is " in done.err
    assert "accuracy" not in done.err
    assert json.loads(done.out)["f1"] < 1.5, "the scores are printed all the same"
    assert "accuracy, f1" in run("evaluate", trained, "--fail-under", "recall=0.5", code=2).err


def test_predict_agrees_with_evaluate(trained: Path, pictures: Path, run: Run) -> None:
    run("evaluate", trained, "--predictions", "p.csv")
    judged = read(Path("p.csv").read_text())
    paths = [f"{pictures}/{row['path']}" for row in judged]
    for given in (paths, paths[::-1]):
        rows = read(run("predict", trained, *given, "--probabilities").out)
        assert [row["path"] for row in rows] == given
        by_path = {row["path"]: row for row in rows}
        for path, row in zip(paths, judged, strict=True):
            assert by_path[path]["predicted"] == row["predicted"]
            assert float(by_path[path]["probability"]) == pytest.approx(float(row["probability"]), abs=1e-6)


def test_predict_columns(trained: Path, pictures: Path, run: Run) -> None:
    picture = pictures / "dots" / "000.png"
    (row,) = read(run("predict", trained, picture, "--top-k", 9, "--probabilities").out)
    assert list(row) == [
        *("path", "predicted", "probability", "error", "predicted_2", "probability_2", "predicted_3", "probability_3"),
        *("p(bars)", "p(dots)", "p(rings)"),
    ]
    ranked = [float(row[name]) for name in ("probability", "probability_2", "probability_3")]
    assert ranked == sorted(ranked, reverse=True)
    assert sum(ranked) == pytest.approx(1)
    assert row["error"] == ""
    assert {row["predicted"], row["predicted_2"], row["predicted_3"]} == {"bars", "dots", "rings"}


def test_a_hyphen_as_output_is_stdout(trained: Path, pictures: Path, run: Run, tmp_path: Path) -> None:
    picture = pictures / "dots" / "000.png"
    assert run("predict", trained, picture, "-o", "-").out == run("predict", trained, picture).out
    assert not (tmp_path / "-").exists()


def test_an_unreadable_picture_is_a_row_and_exit_3(trained: Path, pictures: Path, run: Run) -> None:
    Path("bad.png").write_bytes(b"no picture")
    good = pictures / "bars" / "001.png"
    arguments = ("predict", trained, "bad.png", good, "--top-k", 2, "--probabilities")
    done = run(*arguments, code=3)
    bad, fine = read(done.out)
    assert bad["error"]
    assert {value for name, value in bad.items() if name not in {"path", "error"}} == {""}
    assert fine["path"] == str(good)
    assert fine["predicted"]
    assert "bad.png" in done.err
    run(*arguments, "-o", "out.jsonl", code=3)
    first, second = (json.loads(line) for line in Path("out.jsonl").read_text().splitlines())
    assert first["predicted"] is None
    assert first["p(dots)"] is None
    assert second["error"] is None
    assert second["probability"] == float(fine["probability"])


def test_odd_names_come_out_as_they_went_in(
    trained: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [b'a "quoted", name.png', b"line\nfeed.png", b"\xff\xfe.png", "ü.png".encode(), b"-dash.png"]
    for name in names:
        Path(os.fsdecode(name)).write_bytes((pictures / "bars" / "001.png").read_bytes())
    rows = read(run("predict", trained, "--", *map(os.fsdecode, names)).out)
    assert [os.fsencode(row["path"]) for row in rows] == names
    lines = [name for name in names if b"\n" not in name]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n".join(lines))))
    run("predict", trained, "-", "-o", "out.jsonl")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [os.fsencode(row["path"]) for row in rows] == lines


def test_a_folder_stands_for_its_pictures(trained: Path, pictures: Path, run: Run) -> None:
    rows = read(run("predict", trained, pictures).out)
    assert len(rows) == 63


def test_a_damaged_model_file(trained: Path, run: Run) -> None:
    whole = (trained / "best.safetensors").read_bytes()
    Path("model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = run("predict", "model.safetensors", "x.png", code=4)
    assert done.out == ""
    assert len(done.err.splitlines()) <= 3


def test_a_metric_that_is_good_when_low_is_no_target(trained: Path, run: Run, pictures: Path) -> None:
    run("train", pictures, "--epochs", 1, "--metric.mae.order", "bars,dots,rings", "-o", "ordered")
    assert "mae is good when it is low" in run("evaluate", "ordered", "--fail-under", "mae=1", code=2).err
