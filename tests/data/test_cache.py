"""The cache directory: re-used, rebuilt where damaged, bounded, and never in the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data import cache as files
from clsfit.data.canvases import Canvases, build
from clsfit.data.prepare import Prepare
from clsfit.data.sources import FolderSource, folder


def _build(source: Any, cache: str, folder: Path, **options: Any) -> tuple[Canvases, dict[int, str]]:
    values: dict[str, Any] = {"workers": 2, "skip_bad": False, "prepare": Prepare(3, 12), "rows": None}
    values |= options
    rows = values.pop("rows")
    rows = np.arange(len(source.table().paths)) if rows is None else np.array(rows)
    return build(source, rows, values.pop("prepare"), cache=cache, cache_dir=folder, **values)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("cache", ["disk", "off"])
def test_bad_pictures_are_remembered_only_where_they_are_skipped(mixed: FolderSource, store: Path, cache: str) -> None:
    Path(mixed.root, mixed.table().paths[3]).write_bytes(b"")
    assert list(_build(mixed, cache, store)[1]) == [3]
    assert _files(store) == []
    assert list(_build(mixed, cache, store, skip_bad=True)[1]) == [3]
    assert len(_files(store)) == 1
    assert _build(mixed, cache, store, skip_bad=True)[1] == {3: "empty file"}


@pytest.mark.parametrize("cache", ["disk", "off"])
def test_a_second_run_decodes_nothing(
    mixed: FolderSource, store: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = _build(mixed, cache, store)
    expected = [first.get(row).copy() for row in range(40)]
    before = [(path, path.stat().st_ino) for path in _files(store)]
    told: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Prepare, "__call__", lambda *_: pytest.fail("decoded again"))
        again, _ = _build(folder(Path(mixed.root)), cache, store, progress=told.append)
    assert sum(told) == 40
    assert np.array_equal(again.sizes, first.sizes)
    assert all(np.array_equal(again.get(row), expected[row]) for row in range(40))
    assert [(path, path.stat().st_ino) for path in _files(store)] == before


def test_what_changes_the_key(mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def number() -> int:
        return len(_files(store))

    _build(mixed, "disk", store)
    _build(mixed, "disk", store, prepare=Prepare(1, 12))
    _build(mixed, "disk", store, prepare=Prepare(3, 10))
    _build(mixed, "disk", store, rows=range(39))
    assert number() == 4
    path = Path(mixed.root, mixed.table().paths[0])
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    _build(folder(Path(mixed.root)), "disk", store)
    assert number() == 5
    with monkeypatch.context() as patch:
        patch.setattr("PIL.__version__", "other")
        _build(mixed, "disk", store)
    assert number() == 6
    monkeypatch.setattr("clsfit.data.decode._MEANING", 0)
    _build(mixed, "disk", store)
    assert number() == 7


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip_index(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-400] ^= 1
    path.write_bytes(data)


def _flip_json(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.rfind(b'"key"') + 10] ^= 1
    path.write_bytes(data)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    path.rmdir()


@pytest.mark.parametrize("damage", [_truncate, _lengthen, _empty, _flip_index, _flip_json, _zeros, _folder])
def test_a_damaged_cache_file_is_rebuilt_silently(
    mixed: FolderSource, store: Path, damage: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    _build(mixed, "disk", store)
    (path,) = _files(store)
    good = path.stat().st_size
    damage(path)
    made, _ = _build(mixed, "disk", store)
    assert made.tier == "disk"
    assert "written" in made.why
    assert path.stat().st_size == good
    assert all(np.array_equal(made.get(row), Prepare(3, 12)(mixed.read(row))) for row in range(40))
    assert "earlier run" in _build(mixed, "disk", store)[0].why
    assert capfd.readouterr() == ("", "")


def test_a_new_cache_file_leaves_the_old_pages_alone(mixed: FolderSource, store: Path) -> None:
    old, _ = _build(mixed, "disk", store)
    expected = [old.get(row).copy() for row in range(40)]
    (path,) = _files(store)
    number = path.stat().st_ino
    with path.open("r+b") as file:  # so that it is not accepted
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    _build(mixed, "disk", store)
    assert path.stat().st_ino != number
    path.unlink()
    assert all(np.array_equal(old.get(row), expected[row]) for row in range(40))


def test_writing_into_a_canvas_does_not_reach_the_file(mixed: FolderSource, store: Path) -> None:
    made, _ = _build(mixed, "disk", store)
    (path,) = _files(store)
    before = path.read_bytes()
    made.get(0)[:] = 0
    assert path.read_bytes() == before


def test_concurrent_builders_do_not_hurt_each_other(mixed: FolderSource, store: Path) -> None:
    results: list[Canvases] = []
    start = threading.Barrier(4)

    def one() -> None:
        start.wait()
        results.append(_build(mixed, "disk", store)[0])

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [made.tier for made in results] == ["disk"] * 4
    for row in range(40):
        expected = Prepare(3, 12)(mixed.read(row))
        assert all(np.array_equal(made.get(row), expected) for made in results)
    assert len(_files(store)) == 1


def test_cache_directory_by_environment(mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(store / "here"))
    made, _ = build(mixed, np.arange(40), Prepare(3, 12), cache="disk", workers=0, skip_bad=False)
    assert str(store / "here") in made.why
    assert len(_files(store / "here")) == 1
    assert (store / "here/canvases").stat().st_mode & 0o077 == 0
    monkeypatch.delenv("CLSFIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(store / "xdg"))
    assert files.directory() == store / "xdg/clsfit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(store))
    assert files.directory() == store / ".cache/clsfit"


def test_a_cache_directory_that_cannot_be_made(mixed: FolderSource, store: Path) -> None:
    (store / "file").write_bytes(b"")
    made, bad = _build(mixed, "disk", store / "file")
    assert (made.tier, bad) == ("memory", {})
    assert made.why.startswith("disk failed: ")
    streamed, _ = _build(mixed, "off", store / "file")
    assert streamed.tier == "stream"
    assert np.array_equal(streamed.get(3), made.get(3))


def test_a_full_disk(mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    made, _ = _build(mixed, "disk", store)
    assert made.tier == "memory"
    assert "no space left on device" in made.why
    assert _files(store) == []
    monkeypatch.setattr(files, "available_memory", lambda: 0)
    assert _build(mixed, "disk", store)[0].tier == "stream"


def test_memory_where_the_system_does_not_say_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}

    def sysconf(name: str) -> int:
        if name not in known:
            raise ValueError("unrecognized configuration name")
        return known[name]

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert files._by_pages() == [500 * 4096]  # as on macOS
    known["SC_AVPHYS_PAGES"] = 10
    assert files._by_pages() == [10 * 4096]
    known.clear()
    assert files._by_pages() == []
    monkeypatch.delattr(os, "sysconf")
    assert files._by_pages() == []
    assert files.available_memory() >= 0


def test_files_that_were_read_leave_a_container_its_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert files._of_container(tmp_path) == 100
    (tmp_path / "memory.stat").write_text("anon 400\nactive_file 200\ninactive_file 300\ninactive_anon 7\n")
    assert files._of_container(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    with pytest.raises(ValueError, match="max"):
        files._of_container(tmp_path)


def test_the_oldest_files_go_first(store: Path) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        path = store / f"{name}.canvases"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    (store / "unknown.txt").write_bytes(bytes(1000))
    files.make_room(store, 150, limit=400)
    assert {path.stem for path in store.iterdir()} == {"new", "middle", "unknown"}
    files.make_room(store, 400, limit=400, keep=store / "middle.canvases")
    assert {path.stem for path in store.iterdir()} == {"middle", "unknown"}


def test_a_use_makes_a_file_young(mixed: FolderSource, store: Path) -> None:
    _build(mixed, "disk", store)
    (path,) = _files(store)
    os.utime(path, (1000, 1000))
    _build(mixed, "disk", store)
    assert path.stat().st_mtime > 1000


def test_what_a_killed_builder_left_is_swept_when_it_is_old(mixed: FolderSource, store: Path) -> None:
    place = store / "canvases"
    place.mkdir()
    for name, time in ((".building-old", 1000), (".building-new", None)):
        (place / name).write_bytes(b"x")
        if time:
            os.utime(place / name, (time, time))
    _build(mixed, "disk", store)
    assert [path.name for path in _files(place) if path.name.startswith(".building")] == [".building-new"]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_scratch_is_gone_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    base = tmp_path / "new" / "cache"
    monkeypatch.setenv("CLSFIT_CACHE", str(base))
    if there:
        base.mkdir(parents=True)

    def interrupted() -> None:
        with files.scratch() as folder:
            assert folder.parent == base
            (folder / "canvases").mkdir()
            (folder / "canvases" / "half").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.rglob("*")] == (["new", "cache"] if there else [])
