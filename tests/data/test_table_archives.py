"""A table may name pictures in archives: the same bytes, sizes and split, and refused as the archive itself."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data import table_archives
from clsfit.data.archive import archive
from clsfit.data.intake import Wishes, open_path, take_in
from clsfit.data.split_table import divided, written
from clsfit.data.table_file import TableSource, table_file
from clsfit.errors import DataError

NAMES = [f"{'abc'[seed % 3]}/{seed}.png" for seed in range(24)]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(["photos.zip/a/1.png", ...])``: a table of them, labelled by the folder that each lies in."""

    def run(paths: list[str]) -> Path:
        lines = [f"{path},{Path(path).parent.name}" for path in paths]
        (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines, ""]))
        return tmp_path / "t.csv"

    return run


def _refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        table_file(path)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


@pytest.mark.parametrize("name", ["stored.zip", "deflated.zip", "pax.tar"])
@pytest.mark.parametrize("top", ["", "photos/"])
def test_the_split_of_an_archive_is_read_back_as_its_pictures(
    make_tree: Any, pack: Any, tmp_path: Path, name: str, top: str
) -> None:
    there = archive(pack(make_tree(NAMES), name, top))
    table, _ = divided(there, seed=3, test_fraction=0.2)
    place = tmp_path / "tables" / "split.csv"
    place.parent.mkdir()
    place.write_bytes(written(there, table, place))
    assert f"\n../{name}/{top}a/0.png,a,,".encode() in place.read_bytes()
    here = open_path(str(place))
    assert here.absent == {}
    assert (here.table().classes, here.table().splits) == (table.classes, table.splits)
    assert np.array_equal(here.table().targets, table.targets)
    assert np.array_equal(here.sizes_bytes, there.sizes_bytes)
    for row in range(len(NAMES)):
        assert here.read(row) == there.read(row)
        assert here.head(row, 20) == there.read(row)[:20]
    assert pickle.loads(pickle.dumps(here)).read(5) == there.read(5)  # noqa: S301 - what another process gets
    again = written(here, here.table(), tmp_path / "again.csv").decode()
    assert f"\n{name}/{top}a/0.png,a,,".encode() in again.encode()


def test_canvases_and_split_are_those_of_the_archive(make_tree: Any, pack: Any, tmp_path: Path) -> None:
    there = archive(pack(make_tree(NAMES)))
    (tmp_path / "split.csv").write_bytes(written(there, divided(there, seed=5)[0], tmp_path / "split.csv"))
    wishes = Wishes(None, None, 0.2, 5, 0, "memory", False)
    one, other = take_in(there, wishes), take_in(open_path(str(tmp_path / "split.csv")), wishes)
    assert one.table.splits == other.table.splits
    assert all(np.array_equal(one.canvases.get(row), other.canvases.get(row)) for row in range(len(NAMES)))


def test_an_archive_is_opened_once_and_may_stand_beside_files(
    make_tree: Any, pack: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(make_tree(NAMES), "photos.zip")
    pack(make_tree(["a/x.png", "b/y.png"], "more"), "pax.tar")
    opened: list[str] = []
    real = table_archives.open_whole
    monkeypatch.setattr(table_archives, "open_whole", lambda path: opened.append(Path(path).name) or real(path))
    source = table_file(write([*(f"photos.zip/{name}" for name in NAMES), "pax.tar/a/x.png", "more/b/y.png"]))
    assert sorted(opened) == ["pax.tar", "photos.zip"]
    assert source.read(24) == source.read(list(source.table().paths).index("photos.zip/a/0.png"))
    assert len(source.read(25)) == source.sizes_bytes[25]


def test_a_changed_archive_is_another(make_tree: Any, pack: Any, write: Write) -> None:
    path = pack(make_tree(NAMES), "photos.zip")
    rows = np.arange(len(NAMES))
    table = write([f"photos.zip/{name}" for name in NAMES])
    before = table_file(table).stamp(rows)
    assert table_file(table).stamp(rows) == before
    assert table_file(table).stamp(rows[:5]) != before
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert table_file(table).stamp(rows) != before
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert table_file(table).stamp(rows) == before


def test_what_is_not_in_the_archive_is_absent(make_tree: Any, pack: Any, write: Write) -> None:
    inner = make_tree(["a/1.png", "b/2.png"], "inner")
    shutil.copy(pack(inner, "nested.zip"), inner / "a" / "nested.zip")
    pack(inner, "photos.zip")
    paths = ["a/1.png", "b/2.png", "a/none.png", "a/nested.zip/a/1.png", "a/nested.zip"]
    source = table_file(write([f"photos.zip/{path}" for path in paths]))
    assert source.absent == dict.fromkeys((2, 3, 4), "not in the archive")
    with pytest.raises(OSError):
        source.read(2)


def test_a_folder_may_be_called_like_an_archive(make_tree: Any, write: Write) -> None:
    make_tree(["a/1.png", "b/2.png"], "folder.zip")
    assert isinstance(source := table_file(write(["folder.zip/a/1.png", "folder.zip/b/2.png"])), TableSource)
    assert source.absent == {}


def test_one_picture_under_two_paths_is_refused(make_tree: Any, pack: Any, write: Write) -> None:
    pack(make_tree(NAMES), "photos.zip")
    assert "is named twice" in _refused(write(["photos.zip/a/0.png", "photos.zip/b/1.png", "photos.zip/b/../a/0.png"]))


def test_archives_are_refused_as_they_are_alone(make_tree: Any, pack: Any, write: Write, tmp_path: Path) -> None:
    top = make_tree(NAMES)
    (top / "a" / "link.png").symlink_to("0.png")
    pack(top, "pax.tar")
    assert "a link" in _refused(write(["pax.tar/a/0.png", "pax.tar/b/1.png"]))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4" + bytes(60))
    assert "cut.zip" in _refused(write(["cut.zip/a/0.png", "cut.zip/b/1.png"]))
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b")
    assert "packed.tar.gz" in _refused(write(["packed.tar.gz/a/0.png", "packed.tar.gz/b/1.png"]))


def test_a_link_to_an_archive_stays_in_the_tables_folder(make_tree: Any, pack: Any, tmp_path: Path) -> None:
    path = pack(make_tree(NAMES), "photos.zip")
    for place in ("out", "in"):
        (tmp_path / place).mkdir()
    (tmp_path / "out" / "photos.zip").symlink_to(path)
    shutil.copy(path, tmp_path / "in" / "real.zip")
    (tmp_path / "in" / "photos.zip").symlink_to("real.zip")
    for place in ("out", "in"):
        (tmp_path / place / "t.csv").write_text("path,label\nphotos.zip/a/0.png,a\nphotos.zip/b/1.png,b\n")
    assert "a link that leaves the data set" in _refused(tmp_path / "out" / "t.csv")
    assert len(table_file(tmp_path / "in" / "t.csv").table()) == 2
    there = archive(tmp_path / "out" / "photos.zip")
    with pytest.raises(DataError, match="a link that would not be followed"):
        written(there, divided(there)[0], tmp_path / "out" / "split.csv")


def test_damage_in_an_archive_is_an_unreadable_picture(make_tree: Any, pack: Any, write: Write) -> None:
    path = pack(make_tree(NAMES), "stored.zip")
    with zipfile.ZipFile(path) as made:
        info = made.getinfo("b/1.png")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len("b/1.png") + 40] ^= 255
    path.write_bytes(data)
    source = table_file(write([f"stored.zip/{name}" for name in NAMES]))
    with pytest.raises(DataError, match="a picture cannot be read"):
        take_in(source, Wishes(None, None, 0.2, 5, 0, "memory", False))
    left = take_in(source, Wishes(None, None, 0.2, 5, 0, "memory", True)).left_out
    assert left == ("stored.zip/b/1.png",)
