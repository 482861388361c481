"""A zip and a tar wherever a folder may stand: the same weights, scores and predictions, to the bit."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.cli import main
from clsfit.testing import draw_pictures

Run = Callable[..., Any]

SMALL = ("--model", "mlp", "--epochs", "2", "--seed", "3", "-q")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos``, the same in ``photos.zip`` and ``photos.tar``, and ``run``, trained on the folder."""
    top = tmp_path_factory.mktemp("packed")
    draw_pictures(top / "photos", {"bars": 16, "dots": 16, "rings": 12}, size=8)
    with zipfile.ZipFile(top / "photos.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(top.glob("photos/*/*")):
            made.write(path, path.relative_to(top))
    with tarfile.open(top / "photos.tar", "w") as made:
        made.add(top / "photos", "photos")
    assert main(["train", str(top / "photos"), *SMALL, "-o", str(top / "run")]) == 0
    return top


def weights(run: Path) -> str:
    from safetensors import safe_open

    with safe_open(str(run / "last.safetensors"), "pt") as file:
        names = sorted(file.keys())
        return hashlib.sha256(b"".join(file.get_tensor(name).numpy().tobytes() for name in names)).hexdigest()


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar"])
def test_training_is_the_folder_s_to_the_bit(packed: Path, run: Run, archive: str) -> None:
    before = (packed / archive).read_bytes(), (packed / archive).stat().st_mtime_ns
    for number, more in enumerate((["--cache", "off"], ["--cache", "disk"], ["--workers", "2"])):
        run("train", packed / archive, *SMALL, *more, "-o", f"run-{number}")
        assert weights(Path(f"run-{number}")) == weights(packed / "run")
        assert Path(f"run-{number}/split.csv").read_bytes() == (packed / "run/split.csv").read_bytes()
    assert json.loads(run("evaluate", "run-0", "--json").out) == json.loads(
        run("evaluate", packed / "run", "--json").out
    )
    assert ((packed / archive).read_bytes(), (packed / archive).stat().st_mtime_ns) == before
    assert sorted(path.name for path in packed.iterdir()) == ["photos", "photos.tar", "photos.zip", "run"]


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar"])
def test_evaluate(packed: Path, run: Run, archive: str) -> None:
    rows = []
    for data in ("photos", archive):
        run("evaluate", packed / "run", packed / data, "--predictions", f"{data}.csv")
        rows.append(Path(f"{data}.csv").read_text())
    assert rows[0] == rows[1]


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar"])
def test_predict_shows_the_archive_and_the_path_in_it(packed: Path, run: Run, archive: str) -> None:
    def rows(*given: object) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(run("predict", packed / "run", *given, "--probabilities").out)))

    there, here = rows(packed / "photos"), rows(packed / archive)
    assert len(here) == 44
    for one, other in zip(there, here, strict=True):
        assert other.pop("path").removeprefix(f"{packed / archive}/") == one.pop("path").removeprefix(f"{packed}/")
        assert one == other
    again = rows(packed / archive)
    assert rows(*(row["path"] for row in again)) == again, "a path that was printed can be given"
    assert len(rows(f"{packed / archive}/photos/rings")) == 12


def test_a_template_is_filled_from_an_archive(packed: Path, run: Run) -> None:
    names = [path.relative_to(packed / "photos").as_posix() for path in sorted(packed.glob("photos/*/*"))]
    Path("sample.csv").write_text("path,label\n" + "".join(f"photos/{name},\n" for name in names))
    filled = [
        run("predict", packed / "run", packed / given, "--template", "sample.csv").out
        for given in ("photos.zip", "photos.tar")
    ]
    expected = [
        row["predicted"] for row in csv.DictReader(io.StringIO(run("predict", packed / "run", packed / "photos").out))
    ]
    for text in filled:
        assert [line.split(",")[1] for line in text.splitlines()[1:]] == expected


def test_a_run_goes_on_with_its_pictures_in_an_archive(packed: Path, run: Run) -> None:
    """The fingerprint is over paths, labels and sizes of the pictures, so it is the same data."""
    ended = []
    for data in ("photos", "photos.zip", "photos.tar"):
        begun = f"begun-{data}"
        run("train", packed / "photos", *SMALL, "--epochs", "1", "-o", begun)
        run("train", packed / data, "--epochs", "2", "-o", begun, "--resume", "--accept-changes")
        told = json.loads(Path(begun, "environment.json").read_text())["data"]
        ended.append((weights(Path(begun)), told))
    assert ended[0] == ended[1] == ended[2]


def test_the_run_s_name_is_the_archive_s(packed: Path, run: Run) -> None:
    shutil.copy(packed / "photos.zip", "my photos.zip")
    assert run("train", "my photos.zip", *SMALL, "--epochs", "1").out == "runs/my-photos-mlp\n"


def test_a_compressed_tar_is_3_with_the_remedy(packed: Path, run: Run) -> None:
    with tarfile.open("x.tar.gz", "w:gz") as made:
        made.add(packed / "photos", "photos")
    for command in (("train", "x.tar.gz", *SMALL), ("evaluate", packed / "run", "x.tar.gz")):
        assert "uncompress it, or make it a zip" in run(*command, code=3).err
    done = run("predict", packed / "run", "x.tar.gz", code=3)
    assert "a compressed tar cannot be read in place" in done.out


def test_completion_offers_archives(packed: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CLSFIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"clsfit train {packed}/ph")
    monkeypatch.setenv("COMP_CWORD", "2")
    offered = run().out.split()
    assert sorted(Path(text).name for text in offered) == ["photos", "photos.tar", "photos.zip"]


@pytest.mark.parametrize("archive", ["photos.zip", "photos.tar"])
def test_the_split_of_an_archive_trains_as_the_archive(packed: Path, run: Run, archive: str) -> None:
    run("data", "split", packed / archive, "--seed", "3", "-o", "split.csv")
    run("train", "split.csv", *SMALL, "-o", "run")
    assert weights(Path("run")) == weights(packed / "run")
    one, other = (
        list(csv.reader(place.read_text().splitlines())) for place in (Path("run/split.csv"), packed / "run/split.csv")
    )
    assert [row[1:] for row in one] == [row[1:] for row in other]
    assert json.loads(run("evaluate", "run", "--json").out) == json.loads(run("evaluate", packed / "run", "--json").out)
    run("train", "split.csv", *SMALL, "--cache", "disk", "--workers", "2", "--start-method", "spawn", "-o", "processes")
    assert weights(Path("processes")) == weights(packed / "run")
