"""Headers that an earlier command has read: used where nothing changed, and in no other case."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import cache as files
from clsfit.data import checks, headers
from clsfit.data.checks import Scan
from clsfit.data.sources import FolderSource, folder
from clsfit.timing.sample import Sample

Tree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cache(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_CACHE", str(store))
    monkeypatch.setattr(headers, "_WORTH", 1)


def _look(source: Any, cache: str = "auto", skip_bad: bool = False) -> Scan:
    return headers.look(source, source.table(), 2, cache=cache, skip_bad=skip_bad)


def _same(one: Scan, other: Scan) -> bool:
    assert one.sizes.dtype == other.sizes.dtype == np.int64
    assert one.gray.dtype == other.gray.dtype == np.bool_
    equal = np.array_equal(one.sizes, other.sizes) and np.array_equal(one.gray, other.gray)
    return equal and (one.bad, one.digests) == (other.bad, other.digests)


def _files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


@pytest.fixture
def kinds(make_tree: Tree, picture: Callable[..., bytes], encode: Callable[..., bytes]) -> FolderSource:
    """Pictures of one size, in small and in large files, colourful and gray ones."""
    content = {f"{'ab'[i % 2]}/{i}.png": picture(i, 50, 40, "JPEG" if i % 3 else "BMP") for i in range(9)}
    return folder(make_tree(content | {"a/gray.png": encode(Image.new("L", (40, 50)))}))


def test_a_second_command_opens_no_file(kinds: FolderSource, opened: list[str], store: Path) -> None:
    first = _look(kinds)
    assert len(opened) == 10
    assert first.gray.sum() == 1
    assert sorted(first.digests) == [row for row in range(10) if kinds.sizes_bytes[row] <= 4096] != list(range(10))
    assert all(first.digests[row] == hashlib.sha256(kinds.read(row)).digest() for row in first.digests)
    assert _same(first, checks.scan(kinds, kinds.table(), 0))
    opened.clear()
    assert _same(_look(folder(Path(kinds.root))), first)
    assert opened == []
    (path,) = _files(store)
    assert path.stat().st_mode & 0o077 == 0


def test_nothing_is_kept_or_used_without_a_cache(kinds: FolderSource, opened: list[str], store: Path) -> None:
    _look(kinds, "off")
    assert _files(store) == []
    _look(kinds)
    opened.clear()
    _look(kinds, "off")
    assert len(opened) == 10


def _later(root: Path) -> None:
    path = root / "a/0.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _replaced(root: Path) -> None:
    path = root / "a/0.png"
    path.write_bytes(path.read_bytes() + b"more")


def _renamed(root: Path) -> None:
    (root / "a/0.png").rename(root / "a/00.png")


def _added(root: Path) -> None:
    (root / "a/new.png").write_bytes((root / "a/0.png").read_bytes())


def _removed(root: Path) -> None:
    (root / "a/0.png").unlink()


@pytest.mark.parametrize("change", [_later, _replaced, _renamed, _added, _removed])
def test_whatever_changes_is_read_anew(
    kinds: FolderSource, opened: list[str], change: Callable[[Path], None], store: Path
) -> None:
    _look(kinds)
    change(Path(kinds.root))
    opened.clear()
    source = folder(Path(kinds.root))
    found = _look(source)
    assert len(opened) == len(source.table())
    assert _same(found, checks.scan(source, source.table(), 0))
    assert len(_files(store)) == 2


def test_another_meaning_or_pillow_reads_anew(
    kinds: FolderSource, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _look(kinds)
    for place, value in (("headers._MEANING", 0), ("decode._MEANING", 0), ("decode.PIL.__version__", "other")):
        with monkeypatch.context() as patch:
            patch.setattr(f"clsfit.data.{place}", value)
            opened.clear()
            _look(kinds)
            assert len(opened) == 10


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_truncate, _lengthen, _empty, _zeros, _folder, *range(12)])
def test_a_damaged_file_is_ignored_and_made_again(
    kinds: FolderSource, opened: list[str], store: Path, damage: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    first = _look(kinds)
    (path,) = _files(store)
    if isinstance(damage, int):
        data = bytearray(path.read_bytes())
        data[damage * len(data) // 12] ^= 4
        path.write_bytes(data)
    else:
        damage(path)
    opened.clear()
    assert _same(_look(kinds), first)
    assert len(opened) == 10
    opened.clear()
    assert _same(_look(kinds), first)
    assert len(opened) == (10 if damage is _folder else 0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "values",
    [
        {"key": "another"},
        {"rows": 9},
        {"rows": -1},
        {"bad": {"3": "is fine"}},
        {"bad": {"99": "out of range"}},
        {"bad": {"no row": "at all"}},
        {"bad": None},
        {"left": 5},
        {"more": b"x" * 32},
        {"sizes": b"\xff" * 4},
        {"sizes": bytes(4)},
        {"text": b"[1, 2]"},
        {"text": b"{torn"},
        {"text": b"\xff"},
    ],
    ids=str,
)
def test_a_whole_file_of_other_content_is_ignored(
    kinds: FolderSource, opened: list[str], store: Path, values: dict[str, Any]
) -> None:
    first = _look(kinds)
    (path,) = _files(store)
    data = files.kept(path)
    assert data is not None
    start = 8 + int.from_bytes(data[:8], "little")
    about, arrays = json.loads(data[8:start]), data[start:]
    about |= {name: value for name, value in values.items() if name in about}
    text = values.get("text", json.dumps(about).encode())
    arrays = (values.get("sizes", b"") + arrays[len(values.get("sizes", b"")) :])[: values.get("left")]
    files.keep(path, len(text).to_bytes(8, "little") + text + arrays + values.get("more", b""))
    opened.clear()
    assert _same(_look(kinds), first)
    assert len(opened) == 10


def test_bad_pictures_are_remembered_where_they_are_skipped(
    kinds: FolderSource, opened: list[str], store: Path
) -> None:
    (Path(kinds.root) / "b/1.png").write_bytes(b"no picture")
    source = folder(Path(kinds.root))
    assert "not an accepted format" in next(iter(_look(source).bad.values()))
    assert _files(store) == []
    first = _look(source, skip_bad=True)
    opened.clear()
    assert _same(_look(source, skip_bad=True), first)
    assert opened == []


def test_a_file_that_cannot_be_read_may_be_back(kinds: FolderSource, store: Path) -> None:
    path = Path(kinds.root) / "b/1.png"
    path.rename(path.with_suffix(".away"))
    assert len(_look(kinds, skip_bad=True).bad) == 1
    assert _files(store) == []
    path.with_suffix(".away").rename(path)
    assert _look(kinds, skip_bad=True).bad == {}


def test_a_cache_directory_that_cannot_be_made(kinds: FolderSource, store: Path) -> None:
    store.rmdir()
    store.write_bytes(b"")
    assert _same(_look(kinds), checks.scan(kinds, kinds.table(), 0))


def test_what_cannot_be_told_apart_is_not_kept(
    kinds: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Sample(kinds, np.arange(4))
    assert _look(some).sizes.shape == (4, 2)
    monkeypatch.setattr(headers, "_WORTH", 11)
    _look(kinds)
    assert _files(store) == []


def test_old_files_make_room(kinds: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _look(kinds)
    (old,) = _files(store)
    monkeypatch.setattr(files, "make_room", partial(files.make_room, limit=old.stat().st_size + 20))
    _later(Path(kinds.root))
    _look(folder(Path(kinds.root)))
    (new,) = _files(store)
    assert new != old
