"""Folders and files: what becomes a row, what is refused, and that nothing is changed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data.decode import PictureError
from clsfit.data.reading import MAX_BYTES, read_regular
from clsfit.data.sources import files, folder
from clsfit.errors import DataError

Tree = Callable[..., Path]


def _refused(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        folder(root, **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert caught.value.exit_code == 3
    return text


def test_a_folder_per_class(make_tree: Tree) -> None:
    root = make_tree(["dog/b.png", "cat/2.JPG", "cat/10.png", "Ant/x.webp", "dog/deep/er/a.png"])
    source = folder(root)
    table = source.table()
    assert table.classes == ("Ant", "cat", "dog")
    assert table.paths == ("Ant/x.webp", "cat/10.png", "cat/2.JPG", "dog/b.png", "dog/deep/er/a.png")
    assert table.labels() == ("Ant", "cat", "cat", "dog", "dog")
    assert set(table.splits) == {""}
    assert source.sizes_bytes.tolist() == [(root / path).stat().st_size for path in table.paths]
    assert source.read(3) == (root / "dog/b.png").read_bytes()
    assert source.head(3, 10) == (root / "dog/b.png").read_bytes()[:10]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(make_tree: Tree, val: str) -> None:
    table = folder(make_tree(["train/a/1.png", "train/b/1.png", f"{val}/b/2.png", "test/a/3.png"])).table()
    assert table.classes == ("a", "b")
    assert dict(zip(table.paths, table.splits, strict=True)) == {
        "train/a/1.png": "train",
        "train/b/1.png": "train",
        f"{val}/b/2.png": "val",
        "test/a/3.png": "test",
    }
    assert dict(zip(table.paths, table.labels(), strict=True))[f"{val}/b/2.png"] == "b"


def test_classes_may_be_called_like_splits(make_tree: Tree) -> None:
    table = folder(make_tree(["train/1.png", "plane/1.png"])).table()
    assert table.classes == ("plane", "train")
    assert set(table.splits) == {""}


def test_validation_may_lack_a_class_and_order_does_not_matter(make_tree: Tree) -> None:
    source = folder(make_tree(["train/a/1.png", "train/b/1.png", "train/c/1.png", "val/c/1.png", "val/b/"]))
    assert source.table().counts("val") == (0, 0, 1)
    assert any("val has no pictures of: a" in note for note in source.notes)


def test_only_test_folder(make_tree: Tree) -> None:
    assert folder(make_tree(["test/a/1.png", "test/b/1.png"])).table().counts("test") == (1, 1)


def test_classes_of_a_model(make_tree: Tree) -> None:
    table = folder(make_tree(["b/1.png", "empty/"]), classes=("c", "b", "a")).table()
    assert table.classes == ("c", "b", "a")
    assert table.targets.tolist() == [1]
    text = _refused(make_tree(["z/1.png"]), classes=("c", "b"))
    assert "the model does not know the class z" in text


def test_hidden_and_other_files_are_left_out_and_told(make_tree: Tree) -> None:
    root = make_tree(["a/1.png", "b/1.png", ".git/x/1.png", "a/.thumb.png", "a/notes.txt", "stray.png", "a/no_ending"])
    source = folder(root)
    assert source.table().paths == ("a/1.png", "b/1.png")
    notes = "\n".join(source.notes)
    assert ".git" in notes
    assert "a/.thumb.png" in notes
    assert "outside class folders are not used: 1" in notes
    assert "ending are not used: 2" in notes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["a/1.png", "b/1.png", "none/"], "empty"),
        (["a/1.png", "b/readme.txt"], "empty"),
        (["train/a/1.png", "train/b/1.png", "train/none/"], "none"),
        (["a/1.png", "a/2.png"], "only one class: a"),
        (["train/a/1.png", "val/a/2.png"], "only one class: a"),
        (["1.png", "2.png"], "no class folders"),
        ([], "no pictures"),
        (["a/", "b/"], "no pictures"),
        (["train/a/1.png", "train/b/1.png", "val/x/1.png"], "training does not know the class x"),
        (["train/a/1.png", "train/b/1.png", "test/B/1.png"], "training does not know the class B"),
        (["train/a/1.png", "train/b/1.png", "c/1.png"], "beside"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "two folders for one split"),
        (["inner/a/1.png", "inner/b/1.png"], "did you mean"),
    ],
)
def test_unusable_folders(make_tree: Tree, content: list[str], said: str) -> None:
    assert said in _refused(make_tree(content))


def test_the_order_of_the_file_system_does_not_matter(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree([f"{name}/{i}.png" for name in "cab" for i in (10, 9, 1)] + [f"{name}/.h.png" for name in "cab"])
    first = folder(root)
    real = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(os, "scandir", Reversed)
    again = folder(root)
    assert again.table().paths == first.table().paths
    assert again.table().classes == first.table().classes == ("a", "b", "c")
    assert again.sizes_bytes.tolist() == first.sizes_bytes.tolist()
    assert again.notes == first.notes
    (root / "b/twin").symlink_to("../a")
    assert "b/twin (a folder that is reached twice" in _refused(root)


def test_missing_path_and_file_instead_of_folder(tmp_path: Path) -> None:
    assert "does not exist" in _refused(tmp_path / "nowhere")
    file = tmp_path / "file.png"
    file.write_bytes(b"x")
    assert "is a file, not a folder" in _refused(file)


def test_special_files_are_refused_without_waiting(make_tree: Tree) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    os.mkfifo(root / "a/pipe.jpg")
    assert "a/pipe.jpg (not a regular file)" in _refused(root)
    with pytest.raises(PictureError, match="not a regular file"):
        read_regular(str(root / "a/pipe.jpg"))


def test_a_socket_is_refused(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    monkeypatch.chdir(root)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/s.png")
        assert "a/s.png (not a regular file)" in _refused(root)


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("a/broken.png", "nothing.png", "a broken link"),
        ("a/broken", "nowhere", "a broken link"),
        ("a/self.png", "self.png", "too many levels of symbolic links"),
        ("a/up", "..", "reached twice"),
        ("a/out.png", "../../secret.png", "a link that leaves the data set"),
        ("out", "../elsewhere", "a link that leaves the data set"),
        ("a/zero.png", "/dev/zero", "not a regular file"),
        ("twin", "a", "reached twice"),
    ],
)
def test_bad_links(make_tree: Tree, tmp_path: Path, name: str, target: str, said: str) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    make_tree(["1.png"], "elsewhere")
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / name).symlink_to(target)
    assert said in _refused(root)


def test_many_folders_linking_to_each_other_end(make_tree: Tree) -> None:
    root = make_tree([f"{name}/1.png" for name in "abcdefgh"])
    for name in "abcdefgh":
        for other in "abcdefgh":
            (root / name / f"to_{other}").symlink_to(f"../{other}")
    assert "and 61 more" in _refused(root)


def test_links_inside_are_followed(make_tree: Tree) -> None:
    root = make_tree(["a/1.png", "b/1.png", ".store/x.png", ".more/y.png"])
    (root / "a/x.png").symlink_to("../.store/x.png")
    (root / "c").symlink_to(".more")
    table = folder(root).table()
    assert table.paths == ("a/1.png", "a/x.png", "b/1.png", "c/y.png")


def test_the_root_may_be_a_link(make_tree: Tree, tmp_path: Path) -> None:
    make_tree(["a/1.png", "b/1.png"])
    (tmp_path / "link").symlink_to("photos")
    assert len(folder(tmp_path / "link").table()) == 2


NASTY = [
    "a b.png",
    "line\nbreak.png",
    'quo"te.png',
    "-leading.png",
    "%s.png",
    "[red].png",
    "\x1b[31m.png",
    os.fsdecode(b"\xff\xfe.png"),
    "\U0001f600.png",
    "\u00e9.png",
    "e\u0301.png",
    "x" * 251 + ".png",
]


def test_nasty_names_survive(make_tree: Tree) -> None:
    root = make_tree([f"{folder}/{name}" for folder in ("a", os.fsdecode(b"\xe9")) for name in NASTY])
    source = folder(root)
    assert {path.split("/", 1)[1] for path in source.table().paths} == set(NASTY)
    assert source.table().classes[1] == os.fsdecode(b"\xe9")
    for row in range(len(source.table())):
        assert source.read(row)
    assert len(source.stamp(np.arange(3))) == 64
    (root / "a" / "\x1b[32m.png").symlink_to("gone")
    assert "\x1b" not in _refused(root)


def test_stamp_follows_place_size_and_time(make_tree: Tree, tmp_path: Path) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    rows = np.arange(2)
    first = folder(root).stamp(rows)
    assert folder(root).stamp(rows) == first
    assert folder(root).stamp(rows[:1]) != first
    state = (root / "a/1.png").stat()
    os.utime(root / "a/1.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert folder(root).stamp(rows) != first
    os.utime(root / "a/1.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert folder(root).stamp(rows) == first
    root.rename(tmp_path / "moved")
    assert folder(tmp_path / "moved").stamp(rows) != first


def test_nothing_is_written(make_tree: Tree, tree_state: Callable[[Path], dict[str, Any]]) -> None:
    root = make_tree(["train/a/1.png", "train/b/1.png", "val/a/1.png"])
    before = tree_state(root)
    source = folder(root)
    for row in range(3):
        source.read(row)
    assert tree_state(root) == before


def test_files_in_given_order_with_folders_below(make_tree: Tree, tmp_path: Path) -> None:
    root = make_tree(["b/2.png", "b/1.png", "b/x.txt", "b/.h.png", "one.png"])
    given = [str(root / "one.png"), str(root / "b"), str(root / "one.png"), str(tmp_path / "missing.png")]
    source = files(given)
    table = source.table()
    assert table.paths == (given[0], f"{root}/b/1.png", f"{root}/b/2.png", given[2], given[3])
    assert table.targets.tolist() == [-1] * 5
    assert source.read(0) == source.read(3)
    with pytest.raises(FileNotFoundError):
        source.read(4)


def test_files_keep_relative_names_as_given(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_tree(["a/1.png", "2.png"]))
    assert files(["./2.png", "a/", Path("a")]).table().paths == ("./2.png", "a/1.png", "a/1.png")


def test_files_refuse_what_is_no_regular_file(make_tree: Tree, tmp_path: Path) -> None:
    root = make_tree(["a/1.png"])
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "a/out.png").symlink_to("../../secret.png")
    os.mkfifo(root / "pipe.png")
    source = files([root / "a", root / "pipe.png"])
    assert [Path(path).name for path in source.table().paths] == ["1.png", "out.png", "pipe.png"]
    with pytest.raises(PictureError, match="leaves"):
        source.read(1)
    with pytest.raises(PictureError, match="not a regular file"):
        source.read(2)


def test_no_files(make_tree: Tree) -> None:
    with pytest.raises(DataError, match="no pictures to predict"):
        files([make_tree([])])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PictureError, match="larger than 512 MiB"):
        read_regular(str(path))
