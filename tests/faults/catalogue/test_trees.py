"""Rows 31 to 34 and 36: folders with links, odd classes, leaking splits, and class counts of all kinds."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Tree = Callable[..., Path]
Kept = Callable[[Path], Path]

TWO = {"cat/": 6, "dog/": 6}
QUICK = ("--model", "mlp", "--epochs", "1", "--dry-run")


def case(name: str, content: dict[str, Any], code: int, told: list[str]) -> Any:
    """A tree, what becomes of it, and what is said; what gets as far as torch takes its time."""
    return pytest.param(content, code, told, id=name, marks=[pytest.mark.faults] if code == 0 else [])


@pytest.mark.parametrize(
    "kind", ["broken", "loop", "itself", "folder_out", "file_out", "folder_twice", "broken_folder"]
)
def test_row31_links(fault: Any, tree: Tree, tmp_path: Path, kept: Kept, kind: str, png: Any) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.png").write_bytes(png(9))
    top = tree(TWO)
    target, name, reason = {
        "broken": ("nowhere.png", "cat/link.png", "a broken link"),
        "loop": ("link2.png", "cat/link1.png", "too many levels of symbolic links"),
        "itself": ("..", "cat/up", "reached twice"),
        "folder_out": (tmp_path / "outside", "fox", "leaves the data set"),
        "file_out": (tmp_path / "outside" / "secret.png", "cat/link.png", "leaves the data set"),
        "folder_twice": ("cat", "kitten", "reached twice"),
        "broken_folder": ("nowhere", "fox", "a broken link"),
    }[kind]
    (top / name).symlink_to(target)
    if kind == "loop":
        (top / "cat/link2.png").symlink_to("link1.png")
    kept(top)
    fault(3, "train", top, *QUICK, tells=[name, reason, "remove what is named"])


@pytest.mark.faults
def test_row31_links_that_stay_inside_are_followed(fault: Any, tree: Tree, kept: Kept) -> None:
    top = tree(TWO)
    (top / "cat" / "again.png").symlink_to("0.png")
    kept(top)
    assert "cat 6" in fault(0, "train", top, *QUICK, "--val-fraction", "0.1").err


def test_row31_unreadable_files_and_folders(fault: Any, tree: Tree, kept: Kept) -> None:
    top = tree({**TWO, "cat/locked/": 1})
    (top / "dog" / "3.png").chmod(0)
    kept(top)
    fault(3, "train", top, *QUICK, ordinary=True, tells=["dog/3.png", "permission denied", "--skip-bad"])
    (top / "dog" / "3.png").chmod(0o644)
    (top / "cat" / "locked").chmod(0)
    kept(top)
    fault(3, "train", top, *QUICK, ordinary=True, tells=["cat/locked", "permission denied"])
    (top / "cat" / "locked").chmod(0o755)
    kept(top)


VANISH = """
import builtins, os, sys
from clsfit.data import canvases
from clsfit.cli import main
plain = canvases.build
def build(*arguments, **options):
    os.unlink(os.environ["VANISH"])
    return plain(*arguments, **options)
canvases.build = build
sys.exit(main(sys.argv[1:]))
"""


def test_row31_a_picture_that_vanishes_between_the_listing_and_the_reading(
    python_script: Any, tree: Tree, checked: Any
) -> None:
    top = tree(TWO)
    done = python_script(VANISH, "train", top, *QUICK, env={"VANISH": str(top / "cat" / "2.png")})
    checked(done, 3, ["cat/2.png", "no such file", "--skip-bad"])


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        case("empty class", {**TWO, "fox/": 0}, 3, ["class folder is empty", "fox", "put pictures there"]),
        case("class without pictures", {**TWO, "fox/note.txt": b"none"}, 3, ["empty", "fox"]),
        case("one class", {"cat/": 6}, 3, ["only one class: cat", "tree", "add a folder per class"]),
        case("nested too deep", {"photos/cat/": 6, "photos/dog/": 6}, 3, ["only one class", "did you mean"]),
        case("no folders", {"0.png": b"x", "1.png": b"y"}, 3, ["no class folders", "folder of its name"]),
        case("nothing", {}, 3, ["no pictures", "folder per class"]),
        case("all hidden", {".cat/": 3, ".dog/": 3}, 3, ["no pictures"]),
        case("beside a split", {"train/cat/": 3, "train/dog/": 3, "fox/": 3}, 3, ["train", "fox", "beside"]),
        case("a split twice", {"val/cat/": 2, "valid/cat/": 2, "train/cat/": 3}, 3, ["two folders"]),
        case("a class of one picture", {**TWO, "fox/": 1}, 0, ["fox 1"]),
        case("two pictures in all", {"cat/": 1, "dog/": 1}, 0, ["2 train pictures"]),
        case("folders in a class", {"cat/deep/er/": 6, "dog/": 6}, 0, ["dog 5"]),
        case(
            "hidden",
            {**TWO, ".ipynb_checkpoints/": 6, "cat/.DS_Store": b"x", ".git/config": b"x"},
            0,
            ["hidden files and folders are not used: .git, .ipynb_checkpoints, cat/.DS_Store", "cat 5, dog 5"],
        ),
        case("classes that differ in case", {"Cat/": 6, "cat/": 6}, 0, ["look alike", "'Cat' and 'cat'"]),
        case(
            "classes that differ in normal form",
            {unicodedata.normalize("NFC", "é/"): 6, unicodedata.normalize("NFD", "é/"): 6},
            0,
            ["look alike"],
        ),
        case("files alike", {"cat/": 6, "dog/": 6, "cat/0.PNG": b""}, 3, ["cat/0.PNG", "empty file"]),
    ],
)
def test_row32_trees(fault: Any, tree: Tree, kept: Kept, content: dict[str, Any], code: int, told: list[str]) -> None:
    fault(code, "train", kept(tree(content)), *QUICK, tells=told)


VAL = {"train/a/": 6, "train/b/": 6, "train/c/": 6}


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        case("fewer", {"val/a/": 2, "val/c/": 2}, 0, ["val has no pictures of: b", "a 6, b 6, c 6"]),
        case("an empty one", {"val/a/": 2, "val/b/": 0, "val/c/": 2}, 0, ["val has no pictures of: b"]),
        case("none", {"val/a/": 0, "val/b/": 0}, 0, ["val has no pictures of: any class"]),
        case("more", {"val/a/": 2, "val/z/": 2}, 3, ["does not know the class z", "val", "known: a, b, c"]),
        case("renamed", {"val/a/": 2, "val/B/": 2}, 3, ["does not know the class B", "known: a, b, c"]),
        case("more in test", {"test/a/": 2, "test/y/": 2}, 3, ["does not know the class y", "test"]),
    ],
)
def test_row33_validation_of_other_classes(
    fault: Any, tree: Tree, kept: Kept, content: dict[str, Any], code: int, told: list[str]
) -> None:
    fault(code, "train", kept(tree({**VAL, **content})), *QUICK, tells=told)


@pytest.mark.faults
def test_row33_classes_are_mapped_by_name(fault: Any, data: Path, run: Path, tmp_path: Path) -> None:
    """A data set that lacks the first class scores as its pictures did; an unknown class is refused."""
    shutil.copytree(data / "rings", tmp_path / "fewer" / "rings")
    shutil.copytree(data / "dots", tmp_path / "fewer" / "dots")
    fault(0, "evaluate", run, data, "--predictions", "all.csv")
    scores = json.loads(fault(0, "evaluate", run, "fewer", "--predictions", "few.csv", "--json").out)
    rows = {line.split(",", 1)[0]: line for line in (tmp_path / "all.csv").read_text().splitlines()}
    few = (tmp_path / "few.csv").read_text().splitlines()
    assert len(few) == 1 + 42
    assert all(rows[line.split(",", 1)[0]].split(",")[:3] == line.split(",")[:3] for line in few)
    assert all(values.get("bars") is None for values in scores["per_class"].values())
    (tmp_path / "fewer" / "dots").rename(tmp_path / "fewer" / "Dots")
    fault(3, "evaluate", run, "fewer", tells=["does not know the class Dots", "fewer", "known: bars, dots, rings"])


@pytest.mark.faults
def test_row34_the_same_picture_in_train_and_val(fault: Any, tree: Tree, kept: Kept) -> None:
    top = tree({**VAL, "val/a/": 2, "val/b/": 3, "test/a/": 2})
    shutil.copyfile(top / "train/a/1.png", top / "val/a/same.png")
    shutil.copyfile(top / "train/b/2.png", top / "val/a/other label.png")
    shutil.copyfile(top / "val/b/0.png", top / "test/a/held.png")
    shutil.copyfile(top / "train/c/0.png", top / "train/c/twice.png")  # within a split it is no leak
    said = fault(0, "train", kept(top), *QUICK).err
    (line,) = [line for line in said.splitlines() if "warning" in line]
    assert "3 pictures are in two splits" in line
    for pair in (
        "val/a/same.png (val) = train/a/1.png (train)",
        "val/a/other label.png (val) = train/b/2.png (train)",
        "test/a/held.png (test) = val/b/0.png (val)",
    ):
        assert pair in line


@pytest.mark.faults
def test_row34_copies_of_one_size_are_not_taken_for_the_same(fault: Any, tree: Tree, png: Any) -> None:
    bitmap = bytearray(png(0))
    content = {
        f"{split}/{name}/{i}.png": bytes(bitmap) for split in ("train", "val") for name in "ab" for i in range(2)
    }
    same = fault(0, "train", tree(content, "same"), *QUICK).err
    assert "4 pictures are in two splits" in same
    assert " and 1 more" in same
    assert "warning" not in fault(0, "train", tree({**VAL, "val/a/": 3}, "other"), *QUICK).err


@pytest.mark.faults
def test_row34_copies_in_one_folder_are_found_when_it_is_divided(fault: Any, tree: Tree, png: Any) -> None:
    content = {f"{name}/{i}.png": png("ab".index(name)) for name in "ab" for i in range(5)}
    assert "2 pictures are in two splits" in fault(0, "train", tree(content), *QUICK).err


@pytest.fixture
def leaking(data: Path, tmp_path: Path) -> Path:
    """Drawn pictures, of which val has two again: one in JPEG, and one smaller, turned, with a note on that."""
    top = tmp_path / "leaking"
    for name in ("bars", "rings"):
        for number, path in enumerate(sorted((data / name).iterdir())[:8]):
            place = top / ("val" if number > 5 else "train") / name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / f"{number}.png")
    with Image.open(top / "train/bars/1.png") as image:
        image.convert("RGB").save(top / "val/bars/again.jpg", quality=95, subsampling=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(top / "train/rings/2.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(top / "val/rings/turned.webp", lossless=True, exif=exif)
    return top


@pytest.mark.faults
def test_row34_a_picture_that_was_encoded_again_is_found(fault: Any, leaking: Path, kept: Kept) -> None:
    said = fault(0, "train", kept(leaking), *QUICK).err
    (line,) = [line for line in said.splitlines() if "warning" in line]
    assert "2 pictures are in two splits, re-encoded" in line
    assert "val/bars/again.jpg (val) = train/bars/1.png (train)" in line
    assert "val/rings/turned.webp (val) = train/rings/2.png (train)" in line


@pytest.mark.faults
def test_row34_strict_refuses_before_the_first_step(
    fault: Any, leaking: Path, kept: Kept, tmp_path: Path, small: list[str]
) -> None:
    shutil.copyfile(leaking / "train/rings/0.png", leaking / "val/rings/copy.png")
    top, spoken = kept(leaking), [option for option in small if option != "-q"]
    pairs = ["3 pictures", "byte for byte: val/rings/copy.png", "re-encoded: val/bars/again.jpg", "--strict"]
    fault(3, "train", top, *spoken, "-o", "run", "--strict", tells=pairs)
    assert not (tmp_path / "run").exists()
    fault(0, "train", top, *spoken, "-o", "run", tells=["warning: 1 picture is", "warning: 2 pictures are"])
    assert "strict:" not in (tmp_path / "run" / "config.yaml").read_text()
    fault(0, "train", top, *spoken, "-o", "run", "--resume", "--strict", tells=["nothing to do"])
    changed = ["--epochs", "3", "--resume", "--accept-changes", "--strict"]
    fault(3, "train", top, *spoken, "-o", "run", *changed, tells=pairs)


@pytest.mark.faults
def test_row36_ten_thousand_classes_in_bounded_memory(
    peak: Any, tree: Tree, tmp_path: Path, small: list[str], png: Any
) -> None:
    top, one = tmp_path / "many", png(1)
    for number in range(10_000):
        (top / f"{number:05d}").mkdir(parents=True)
        (top / f"{number:05d}" / "0.png").write_bytes(one)
    few = tree({"a/": 5, "b/": 5}, "few")
    options = [*small[:6], "--epochs", "1", "--batch-size", "5000", "--metric", "none", "--metric", "accuracy"]
    base = peak("train", few, *options, "-o", "few-run")
    used = peak("train", top, *options, "-o", "many-run")
    assert used - base < 1500 << 20, f"{(used - base) >> 20} MiB more than for two classes"
    rows = (tmp_path / "many-run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["step"] == 2


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "options", "steps"),
    [
        pytest.param({"a/": 1, "b/": 1000}, ["--batch-size", "512"], 2, id="1 to 1000"),
        pytest.param({"a/": 5, "b/": 5}, ["--batch-size", "4096"], 1, id="batch larger than the data"),
        pytest.param(
            {"a/": 5, "b/": 6}, ["--batch-size", "8", "--model", "small_cnn"], 1, id="last batch of one, BatchNorm"
        ),
        pytest.param(
            {"a/": 5, "b/": 6}, ["--batch-size", "1", "--model", "small_cnn"], 9, id="batches of one, BatchNorm"
        ),
    ],
)
def test_row36_odd_numbers(
    fault: Any, tree: Tree, tmp_path: Path, content: dict[str, int], options: list[str], steps: int
) -> None:
    command = ["train", tree(content), "--model", "mlp", "--epochs", "1", "--threads", "1", *options, "-o", "run"]
    fault(0, *command)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["step"] == steps
    assert row["train/loss"] is not None
    assert (tmp_path / "run" / "last.safetensors").exists()
    assert os.path.exists(tmp_path / "run" / "summary.json")
