"""Reading members where they lie: by threads, in other processes, from damaged and changing archives."""

from __future__ import annotations

import io
import os
import pickle
import random
import shutil
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data import archive_zip, canvases, checks
from clsfit.data.archive import Archive, archive
from clsfit.data.decode import PictureError
from clsfit.data.intake import open_path
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.data.reading import MAX_BYTES
from clsfit.errors import DataError, ResourceError

Tree = Callable[..., Path]
Pack = Callable[..., Path]

KINDS = ("stored.zip", "deflated.zip", "pax.tar")


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_read_by_one_handle(make_tree: Tree, pack: Pack, kind: str) -> None:
    rng = random.Random(0)
    content = {f"{c}/{i}.png": rng.randbytes(rng.randrange(20_000)) for c in "ab" for i in range(10)}
    source = archive(pack(make_tree(content), kind))
    expected = [content[path] for path in source.table().paths]
    wrong: list[int] = []

    def work(seed: int) -> None:
        rows = random.Random(seed).choices(range(20), k=150)
        for row in rows:
            try:
                good = source.read(row) == expected[row] and source.head(row, 900) == expected[row][:900]
            except PictureError:
                good = False
            if not good:
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet often
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_decode_the_same(mixed: Any, pack: Pack, store: Path, kind: str, method: str) -> None:
    here = archive(pack(Path(mixed.root), kind))
    with Decoders(method, 2) as decoders:
        made, bad = canvases.build(
            here, np.arange(40), Prepare(3), cache="memory", workers=2, skip_bad=False, cache_dir=store,
            decoders=decoders,
        )  # fmt: skip
    assert bad == {}
    assert made.decoded_by == f"2 processes ({method})"
    for row in range(40):
        assert np.array_equal(made.get(row), Prepare(3)(mixed.read(row)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_copy_has_a_handle_of_its_own(equal: Any, pack: Pack, kind: str) -> None:
    path = pack(Path(equal.root), kind)
    source = archive(path)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    expected = source.read(3)
    del source
    assert copy.read(3) == expected
    os.utime(path, ns=(1, 1))
    with pytest.raises(PictureError, match="has changed"):
        pickle.loads(pickle.dumps(copy)).read(3)  # noqa: S301


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_and_its_parent_do_not_disturb_each_other(equal: Any, pack: Pack) -> None:
    source = archive(pack(Path(equal.root)))
    expected = [source.read(row) for row in range(40)]
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if all(source.read(row) == expected[row] for _ in range(200) for row in range(40)) else 1)
        finally:
            os._exit(2)
    assert all(source.read(row) == expected[row] for _ in range(200) for row in range(39, -1, -1))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts handles")
def test_handles_are_closed_with_their_last_user(equal: Any, pack: Pack, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    path = pack(Path(equal.root))
    source = archive(path)
    source.read(0)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del source
    (tmp_path / "bad.zip").write_bytes(b"PK" + bytes(100))
    for _ in range(3):
        with pytest.raises(DataError):
            archive(tmp_path / "bad.zip")
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_archive_that_changes_while_it_is_in_use(equal: Any, pack: Pack) -> None:
    path = pack(Path(equal.root), "pax.tar")
    made = canvases.build(archive(path), np.arange(40), Prepare(3), cache="off", workers=0, skip_bad=False)[0]
    with path.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(DataError, match=r"(?s)a picture changed after it was checked: the archive has changed.*a/0"):
        made.get(0)


def test_an_archive_that_is_replaced_is_read_as_it_was(equal: Any, pack: Pack, tmp_path: Path) -> None:
    path = pack(Path(equal.root))
    source = archive(path)
    expected = source.read(5)
    shutil.copy(path, tmp_path / "other")
    (tmp_path / "other").replace(path)
    assert source.read(5) == expected


def _damage(path: Path, change: Callable[[bytearray, int], None]) -> Any:
    """The archive at ``path``, in which ``change`` was told where the bytes of its second picture are."""
    data = bytearray(path.read_bytes())
    entry = Archive(str(path))._entries["a/2.png"]
    start = entry.offset if path.suffix == ".tar" else entry.offset + 30 + len("a/2.png")
    change(data, start)
    path.write_bytes(data)
    return archive(path)


def _flip(data: bytearray, at: int) -> None:
    data[at + 5] ^= 1


def _overwrite(data: bytearray, at: int) -> None:
    data[at : at + 20] = b"\xff" * 20


def _other_header(data: bytearray, at: int) -> None:
    data[at - 37 : at - 33] = b"PK\1\2"


@pytest.mark.parametrize("kind", ["stored.zip", "deflated.zip"])
@pytest.mark.parametrize("change", [_flip, _overwrite, _other_header])
def test_damage_is_the_fault_of_its_picture(equal: Any, pack: Pack, kind: str, change: Any) -> None:
    source = _damage(pack(Path(equal.root), kind), change)
    row = source.table().paths.index("a/2.png")
    bad = canvases.build(source, np.arange(40), Prepare(3), cache="off", workers=0, skip_bad=False)[1]
    assert list(bad) == [row]
    assert "damaged" in bad[row] or "checksum" in bad[row]


def test_a_picture_that_is_too_large_is_its_own_fault(tmp_path: Path, picture: Any) -> None:
    path = tmp_path / "large.tar"
    with tarfile.open(path, "w") as made:
        for name in ("a/1.png", "b/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(picture())
            made.addfile(member, io.BytesIO(picture()))
    with path.open("r+b") as file:  # a hole, so that the file takes no room
        member = tarfile.TarInfo("b/2.png")
        member.size = MAX_BYTES + 1
        file.truncate(2 * 1024)
        file.seek(2 * 1024)
        file.write(member.tobuf())
        file.truncate(2 * 1024 + 512 + -(-member.size // 512) * 512 + 1024)
    source = archive(path)
    assert checks.scan(source, source.table(), 0).bad == {2: "larger than 512 MiB"}


def test_members_with_long_local_headers(tmp_path: Path, picture: Any) -> None:
    """What the header before a member's bytes holds may be longer than what the directory says of it."""
    path = tmp_path / "extra.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("a/1.png", "b/1.png"):
            info = zipfile.ZipInfo(name)
            info.extra = b"\xfe\xca" + (5000).to_bytes(2, "little") + bytes(5000)
            made.writestr(info, picture())
    source = archive(path)
    assert source.read(0) == picture()
    assert source.head(1, 10) == picture()[:10]


def test_a_stream_that_takes_more_bytes_than_it_gives(tmp_path: Path) -> None:
    """Deflated data may hold empty blocks without end; what is wanted comes after them."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"\0\0\0\xff\xff" * 500_000 + packed.compress(b"x" * 9) + packed.flush()
    path = tmp_path / "empty-blocks"
    path.write_bytes(b"PK\3\4" + bytes(22) + (1).to_bytes(2, "little") + bytes(2) + b"n" + body)
    with path.open("r+b") as file:
        file.seek(8)
        file.write((8).to_bytes(2, "little"))
    with path.open("rb") as file:
        entry = archive_zip.Entry("n", 9, 0, len(body), 8, zlib.crc32(b"x" * 9))
        assert archive_zip.read(file.fileno(), entry, 9) == b"x" * 9
        assert archive_zip.read(file.fileno(), entry, 4) == b"x" * 4
        with pytest.raises(PictureError, match="cut short"):
            archive_zip.read(file.fileno(), entry._replace(packed=100_000), 9)


def test_missing_handles_are_no_fault_of_the_archive(equal: Any, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(Path(equal.root))

    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ResourceError):
        open_path(str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written(equal: Any, pack: Pack, tree_state: Any, kind: str) -> None:
    path = pack(Path(equal.root), kind)
    before = tree_state(path.parent)
    source = archive(path)
    for row in range(40):
        source.read(row)
    assert tree_state(path.parent) == before
