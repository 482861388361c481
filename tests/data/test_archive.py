"""Archives: the table of the same folders, the same bytes and canvases, and what is refused or left out."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.data import canvases, leaks, split
from clsfit.data.archive import ArchiveSource, archive
from clsfit.data.intake import open_path
from clsfit.data.prepare import Prepare
from clsfit.data.sources import folder
from clsfit.errors import DataError

Tree = Callable[..., Path]
Pack = Callable[..., Path]

KINDS = ("stored.zip", "deflated.zip", "ustar.tar", "gnu.tar", "pax.tar")


def _refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_path(str(path), **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert path.name in text
    return text


@pytest.mark.parametrize("top", ["", "./", "photos/", "photos/2024/"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_the_folder(make_tree: Tree, pack: Pack, kind: str, top: str) -> None:
    long = "x" * 120 + "/" + "y" * 120
    root = make_tree([*(f"{split}/{c}/{i}.png" for split in ("train", "val") for c in "ab" for i in range(4)),
                      f"train/größe/{long}.JPG", "train/.hidden/1.png", "train/a/notes.txt"])  # fmt: skip
    if kind == "ustar.tar":
        next(root.rglob("y*")).rename(root / "train/größe/1.jpg")
    there, here = folder(root), open_path(str(pack(root, kind, top)))
    assert isinstance(here, ArchiveSource)
    assert here.table().paths == there.table().paths
    assert here.table().classes == there.table().classes == ("a", "b", "größe")
    assert here.table().splits == there.table().splits
    assert here.sizes_bytes.tolist() == there.sizes_bytes.tolist()
    assert here.table().fingerprint(here.sizes_bytes) == there.table().fingerprint(there.sizes_bytes)
    for row in range(len(there.table())):
        assert here.read(row) == there.read(row)
        for length in (0, 1, 50, 100_000):
            assert here.head(row, length) == there.head(row, length)
    around = top.removeprefix("./")
    assert here.notes == (*([f"paths are those below {around} in the archive"] if around else []), *there.notes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", ["memory", "off", "disk"])
def test_canvases_and_split_are_the_folder_s_to_the_bit(
    mixed: Any, pack: Pack, store: Path, kind: str, cache: str
) -> None:
    here = archive(pack(Path(mixed.root), kind, "mixed/"))
    rows, prepare = np.arange(40), Prepare(3, 12)
    made = [
        canvases.build(source, rows, prepare, cache=cache, workers=2, skip_bad=False, cache_dir=store)[0]
        for source in (mixed, here)
    ]
    for row in range(40):
        assert np.array_equal(made[0].get(row), made[1].get(row))
    assert split.hold_out(here.table(), 0.3, 7).splits == split.hold_out(mixed.table(), 0.3, 7).splits


def test_the_cache_knows_an_archive_again_until_it_changes(equal: Any, pack: Pack, store: Path) -> None:
    path = pack(Path(equal.root))

    def build() -> str:
        made = canvases.build(
            archive(path), np.arange(40), Prepare(3), cache="disk", workers=0, skip_bad=False, cache_dir=store
        )
        return made[0].why

    assert "written to" in build()
    assert "made by an earlier run" in build()
    os.utime(path, ns=(1, 1))
    assert "written to" in build()
    pack(Path(equal.root), "stored.zip").replace(path)
    os.utime(path, ns=(1, 1))
    assert "written to" in build()


def test_stamps_are_of_the_rows(equal: Any, pack: Pack) -> None:
    path = pack(Path(equal.root))
    stamps = {archive(path).stamp(np.arange(start, stop)) for start, stop in ((0, 40), (0, 39), (1, 40))}
    assert len(stamps) == 3
    assert archive(path).stamp(np.arange(40)) in stamps


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_in_two_splits_is_found(make_tree: Tree, picture: Any, pack: Pack, kind: str) -> None:
    content = {f"train/{c}/{i}.png": picture(10 * ord(c) + i) for c in "ab" for i in range(3)}
    here = archive(pack(make_tree(content | {"val/a/again.png": picture(10 * ord("b") + 1)}), kind))
    lines = leaks.look(here, here.table(), 0).lines
    assert len(lines) == 1
    assert "val/a/again.png (val) = train/b/1.png (train)" in lines[0]


def test_a_folder_around_all_is_left_out_but_no_split_and_no_known_class(make_tree: Tree, pack: Pack) -> None:
    root = make_tree(["cat/deep/1.png", "cat/deep/2.png"])
    assert archive(pack(root), classes=("cat", "dog")).table().labels() == ("cat", "cat")
    root = make_tree(["train/a/1.png", "train/b/1.png"], "splits")
    assert archive(pack(root)).table().splits == ("train", "train")
    root = make_tree(["set/a/1.png", "set/b/1.png", "readme.txt"], "beside")
    assert archive(pack(root)).table().paths == ("a/1.png", "b/1.png")
    root = make_tree(["set/a/1.png", "set/b/1.png", "empty/"], "empty")
    assert "1 class folder is empty" in _refused(pack(root))
    root = make_tree(["set/a/1.png", "set/b/1.png", "x.png"], "stray")
    assert "there is only one class: set" in _refused(pack(root))


def test_the_rules_of_folders(make_tree: Tree, pack: Pack) -> None:
    assert "there is only one class: a" in _refused(pack(make_tree(["a/1.png"], "one")))
    assert "there are no pictures" in _refused(pack(make_tree(["a/1.txt", "inner.zip"], "none")))
    assert "1 class folder is empty" in _refused(pack(make_tree(["a/1.png", "b/1.png", "c/"], "empty")))
    beside = make_tree(["train/a/1.png", "c/1.png", "val/a/1.png"], "beside")
    assert "beside each other" in _refused(pack(beside))
    known = make_tree(["a/1.png", "z/1.png"], "known")
    assert "the model does not know the class z" in _refused(pack(known), classes=("a", "b"))


def test_what_is_not_used_is_told(make_tree: Tree, pack: Pack) -> None:
    content = ["a/1.png", "b/1.png", "a/inner.zip", "a/inner.tar", "__MACOSX/a/._1.png", "a/.DS_Store", "a/._1.png"]
    for kind in ("deflated.zip", "pax.tar"):
        source = archive(pack(make_tree(content), kind))
        assert source.table().paths == ("a/1.png", "b/1.png")
        assert "files without a picture's ending are not used: 2" in source.notes
        assert any("__MACOSX, a/.DS_Store, a/._1.png" in note for note in source.notes)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_refused_with_what_to_do(make_tree: Tree, tmp_path: Path, ending: str) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    for name in (f"x.tar.{ending}", f"X.T{ending.upper()}" if ending != "bz2" else "x.tbz2", "lies.tar"):
        with tarfile.open(tmp_path / name, f"w:{ending}") as made:
            made.add(root, "photos")
        text = _refused(tmp_path / name)
        assert "a compressed tar cannot be read in place" in text
        assert "uncompress it, or make it a zip" in text
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    assert "compressed tar" in _refused(tmp_path / "x.tar.zst")


def test_what_is_no_archive(make_tree: Tree, tmp_path: Path) -> None:
    for name, data in {"a.zip": b"", "b.zip": bytes(3000), "a.tar": b"", "b.tar": b"text" * 200, "c.tar": b"x"}.items():
        (tmp_path / name).write_bytes(data)
        assert "this is no" in _refused(tmp_path / name)
    (tmp_path / "d.tar").write_bytes(bytes(10240))
    assert "there are no pictures" in _refused(tmp_path / "d.tar")
    os.mkfifo(tmp_path / "pipe.zip")
    assert "not a regular file" in _refused(tmp_path / "pipe.zip")
    assert open_path(str(make_tree(["x/1.png", "y/1.png"], "folder.zip"))).table().classes == ("x", "y")
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    assert "neither a folder nor an archive" in _refused(tmp_path / "x.rar")


NAMES = st.text(st.sampled_from("ab .é\\'\n\"%"), min_size=1, max_size=6).filter(
    lambda name: not name.startswith(".") and name.strip(" ") == name
)


@given(
    st.sets(st.tuples(st.sampled_from(["k", "l"]), NAMES), min_size=1, max_size=8),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_come_back_from_a_tar(tmp_path: Path, names: set[tuple[str, str]], how: int) -> None:
    path = tmp_path / "names.tar"
    with tarfile.open(path, "w", format=how) as made:
        for above, name in names:
            member = tarfile.TarInfo(f"{above}/{name}.png")
            member.size = len(name)
            made.addfile(member, io.BytesIO(b"." * len(name)))
    source = archive(path, classes=("k", "l"))
    assert source.table().paths == tuple(sorted(f"{above}/{name}.png" for above, name in names))
    assert source.sizes_bytes.tolist() == [len(p) - len("k/.png") for p in source.table().paths]


@pytest.mark.parametrize("flag", [True, False])
def test_names_in_utf_8_are_read_whether_the_zip_says_so_or_not(tmp_path: Path, picture: Any, flag: bool) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("größe/1.png", "b/1.png"):
            made.writestr(name, picture())
    if not flag:
        data = bytearray(path.read_bytes())
        for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = data.index(mark)
            assert data[place + at + 1] & 8
            data[place + at + 1] &= ~8
        path.write_bytes(data)
    assert archive(path).table().classes == ("b", "größe")


def test_names_in_code_page_437(tmp_path: Path, picture: Any) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("grXXe/1.png", "b/1.png"):
            made.writestr(name, picture())
    path.write_bytes(path.read_bytes().replace(b"grXXe", b"gr\x94\xe1e"))
    assert archive(path).table().classes == ("b", "größe")


def test_a_zip_behind_a_program_and_with_64_bit_sizes(make_tree: Tree, tmp_path: Path) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    path = tmp_path / "self-extracting.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("a/1.png", "b/1.png"):
            with made.open(name, "w", force_zip64=True) as member:
                member.write((root / name).read_bytes())
    path.write_bytes(b"#!/bin/sh\nexit 1\n" + path.read_bytes())
    source = archive(path)
    assert [source.read(row) for row in range(2)] == [(root / name).read_bytes() for name in source.table().paths]


def test_a_tar_with_a_header_for_all_and_a_label(make_tree: Tree, tmp_path: Path) -> None:
    root = make_tree(["a/1.png", "b/1.png"])
    with tarfile.open(tmp_path / "of-git.tar", "w", pax_headers={"comment": "0123456789" * 100}) as made:
        label = tarfile.TarInfo("backup of 2024")
        label.type = b"V"
        made.addfile(label)
        made.add(root, "photos")
    source = archive(tmp_path / "of-git.tar")
    assert [source.read(row) for row in range(2)] == [(root / name).read_bytes() for name in source.table().paths]
