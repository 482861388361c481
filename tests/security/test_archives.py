"""Archives: read in place and never unpacked; each hostile member has its outcome, by its name."""

from __future__ import annotations

import io
import random
import shutil
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from clsfit.cli import main
from clsfit.data.archive import Archive
from clsfit.data.decode import PictureError
from clsfit.data.intake import open_path
from clsfit.errors import DataError

Refused = Callable[..., str]

SMALL = ("--model", "mlp", "--model.hidden", "4", "--epochs", "1", "-q")


def png(seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((8, 8), 20 + seed).save(out, "PNG")
    return out.getvalue()


USUAL = {"a/1.png": png(1), "b/1.png": png(2)}
ZipMember = tuple[zipfile.ZipInfo | str, bytes]
TarMember = tuple[tarfile.TarInfo, bytes]


def make_zip(path: Path, *more: ZipMember, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of a picture in each of two folders, and ``more``."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as made:
        warnings.simplefilter("ignore", UserWarning)  # about names that are there twice
        for name, data in (*USUAL.items(), *more):
            made.writestr(name, data)
    return path


def make_tar(path: Path, *more: TarMember, how: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of the same."""
    with tarfile.open(path, "w", format=how) as made:
        for member, data in (*(tar_member(name, data) for name, data in USUAL.items()), *more):
            made.addfile(member, io.BytesIO(data))
    return path


def tar_member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> TarMember:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, link
    return member, data


def of_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """``path``, all occurrences of some bytes replaced by as many."""
    assert len(old) == len(new)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def with_central(path: Path, name: str, at: int, form: str, *values: int) -> Path:
    """``path``, whose directory says something else of the member ``name``."""
    data = bytearray(path.read_bytes())
    place = data.rindex(name.encode()) - 46
    assert data[place : place + 4] == b"PK\1\2"
    struct.pack_into(form, data, place + at, *values)
    path.write_bytes(data)
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder for the archive, outside of which, and beside which, nothing may appear."""
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    yield folder
    assert [path.name for path in tmp_path.rglob("*") if path.suffix not in {".zip", ".tar"}] == ["deep", "er"]


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip, absolute": (lambda to: make_zip(to, ("/abs/x.png", png())), "/abs/x.png (an absolute path)"),
    "zip, upwards": (lambda to: make_zip(to, ("a/../../x.png", png())), "a/../../x.png (a path that leaves"),
    "zip, upwards, no picture": (lambda to: make_zip(to, ("../x.txt", b"x")), "../x.txt (a path that leaves"),
    "zip, backslashes": (lambda to: make_zip(to, ("a\\..\\x.png", png())), "a\\..\\x.png (a backslash"),
    "zip, drive": (lambda to: make_zip(to, ("C:\\x.png", png())), "C:\\x.png (a backslash in its path)"),
    "zip, NUL": (
        lambda to: patched(make_zip(to, ("a/x.pngQ.png", png())), b"x.pngQ", b"x.png\0"),
        r"a/x.png\x00.png (a NUL in its path)",
    ),
    "zip, link": (lambda to: make_zip(to, (of_mode("a/l.png", 0o120777), b"/etc/passwd")), "a/l.png (a link)"),
    "zip, link that may be a folder": (lambda to: make_zip(to, (of_mode("c", 0o120777), b"/etc")), "c (a link)"),
    "zip, pipe": (lambda to: make_zip(to, (of_mode("a/p.png", 0o010644), b"")), "a/p.png (not a regular file)"),
    "zip, twice": (lambda to: make_zip(to, ("a/1.png", png(9))), "a/1.png (there twice)"),
    "zip, twice in two spellings": (lambda to: make_zip(to, ("a/.//1.png", png(9))), "a/1.png (there twice)"),
    "zip, encrypted": (
        lambda to: with_central(make_zip(to, ("a/e.png", png())), "a/e.png", 8, "<H", 1),
        "a/e.png (encrypted)",
    ),
    "zip, bzip2": (
        lambda to: make_zip(to, method=zipfile.ZIP_BZIP2), "a/1.png (neither stored nor deflated)"
    ),
    "zip, lzma": (lambda to: make_zip(to, method=zipfile.ZIP_LZMA), "neither stored nor deflated"),
    "zip, long path": (lambda to: make_zip(to, ("d/" * 2500 + "x.png", png())), "a path that is too long"),
    "zip, terminal": (lambda to: make_zip(to, ("/\x1b[2Jx.png", png())), r"/\x1b[2Jx.png (an absolute path)"),
    "zip, overlap": (
        lambda to: with_central(make_zip(to, ("a/2.png", png())), "a/2.png", 42, "<L", 0), "members overlap"
    ),
    "tar, absolute": (lambda to: make_tar(to, tar_member("/abs/x.png", png())), "/abs/x.png (an absolute path)"),
    "tar, upwards": (lambda to: make_tar(to, tar_member("a/../../x.png", png())), "a path that leaves the archive"),
    "tar, link": (
        lambda to: make_tar(to, tar_member("a/l.png", kind=tarfile.SYMTYPE, link="/etc/passwd")), "a/l.png (a link)",
    ),
    "tar, link that may be a folder": (
        lambda to: make_tar(to, tar_member("c", kind=tarfile.SYMTYPE, link="../..")), "c (a link)",
    ),
    "tar, hard link": (
        lambda to: make_tar(to, tar_member("a/h.png", kind=tarfile.LNKTYPE, link="a/1.png")), "a/h.png (a link)",
    ),
    "tar, device": (lambda to: make_tar(to, tar_member("a/d.png", kind=tarfile.BLKTYPE)), "(not a regular file)"),
    "tar, pipe": (lambda to: make_tar(to, tar_member("a/p.png", kind=tarfile.FIFOTYPE)), "(not a regular file)"),
    "tar, unknown": (lambda to: make_tar(to, tar_member("a/u.png", b"x", kind=b"Q")), "a/u.png (of an unknown kind)"),
    "tar, twice": (lambda to: make_tar(to, tar_member("./a/1.png", png(9))), "a/1.png (there twice)"),
    "tar, sparse": (lambda to: make_tar(to, tar_member("a/s.png", b"x", kind=b"S")), "holds a sparse file"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_members_are_refused_by_name(what: str, outside: Path, refused: Refused) -> None:
    make, said = HOSTILE[what]
    path = make(outside / f"set.{what[:3]}")
    message = refused({3}, "train", path, *SMALL, "-o", outside / "run")
    assert said in message
    assert path.name in message
    assert message.count("\n") == 3, "what, where, what to do"


def test_a_pax_header_that_makes_a_file_sparse(outside: Path) -> None:
    member, data = tar_member("a/s.png", png())
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
    with pytest.raises(DataError, match="a sparse file"):
        open_path(str(make_tar(outside / "s.tar", (member, data))))


def test_headers_without_end_are_not_read(outside: Path) -> None:
    member, data = tar_member("a/2.png", png())
    member.pax_headers = {"comment": "x" * 2_000_000}
    with pytest.raises(DataError, match="a header is too long"):
        open_path(str(make_tar(outside / "s.tar", (member, data))))
    member.pax_headers = {"comment": "x" * 500_000, "path": "c/3.png"}
    assert open_path(str(make_tar(outside / "t.tar", (member, data)))).table().classes == ("a", "b", "c")


@pytest.mark.parametrize("name", ["a/n\0.png", "/n.png", "../n.png"])
def test_paths_in_pax_headers_are_looked_at_too(outside: Path, name: str) -> None:
    member, data = tar_member("a/2.png", png())
    member.pax_headers = {"path": name}
    with pytest.raises(DataError, match=r"NUL|absolute|leaves"):
        open_path(str(make_tar(outside / "p.tar", (member, data))))


def test_a_size_that_is_only_declared_is_refused_before_anything_is_read(outside: Path) -> None:
    path = with_central(make_zip(outside / "d.zip", ("a/2.png", png())), "a/2.png", 24, "<L", 1 << 30)
    opened = Archive(str(path))
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match="larger than 512 MiB"):
            opened.read("a/2.png")
        with pytest.raises(PictureError, match="larger than 512 MiB"):
            opened.read("a/2.png", 100)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_member_that_is_almost_nothing_and_unpacks_to_very_much_is_refused(outside: Path) -> None:
    opened = Archive(str(make_zip(outside / "n.zip", ("a/2.bmp", bytes(65 << 20)), ("a/3.bmp", bytes(64 << 20)))))
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match="more than 200 times"):
            opened.read("a/2.bmp")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(opened.read("a/3.bmp")) == 64 << 20


def test_a_member_that_grows_beyond_what_it_declares_is_not_unpacked(outside: Path) -> None:
    path = make_zip(outside / "bomb.zip", ("a/2.png", bytes(200 << 20)))
    assert path.stat().st_size < 1 << 20
    opened = Archive(str(with_central(path, "a/2.png", 24, "<L", 5000)))
    tracemalloc.start()
    try:
        with pytest.raises(PictureError, match="checksum"):
            opened.read("a/2.png")
        assert len(opened.read("a/2.png", 4096)) == 4096
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_picture_that_unpacks_to_too_many_pixels_is_as_in_a_folder(outside: Path, refused: Refused) -> None:
    out = io.BytesIO()
    Image.new("1", (8000, 8000)).save(out, "BMP")
    message = refused({3}, "train", make_zip(outside / "p.zip", ("a/2.bmp", out.getvalue())), *SMALL)
    assert "a/2.bmp (" in message
    assert "million pixels" in message


def test_endlessly_many_members_of_the_same_bytes(outside: Path) -> None:
    """A directory of a thousand names for one member, each of which would be unpacked."""
    path = make_zip(outside / "many.zip")
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    entry, end = data[at : data.index(b"PK\1\2", at + 4)], data.index(b"PK\5\6")
    more = b"".join(entry.replace(b"a/1.png", b"a/%03d.p" % i)[:46] + b"a/%03d.p" % i for i in range(1000))
    tail = bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, 1002, 1002, end - at + len(more))
    path.write_bytes(data[:end] + more + tail)
    with pytest.raises(DataError, match="members overlap"):
        open_path(str(path))


def cut(path: Path, length: int) -> Path:
    path.write_bytes(path.read_bytes()[:length])
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_archives_that_are_cut_short(make: Any, outside: Path) -> None:
    whole = make(outside / ("whole" + (".zip" if make is make_zip else ".tar")))
    used = whole.stat().st_size if make is make_zip else 2 * 1024 + 512  # what follows in a tar is its end
    for length in sorted({*range(0, used, 97), used - 1, *range(0, used, 512)}):
        path = cut(Path(shutil.copy(whole, outside / f"cut{whole.suffix}")), length)
        with pytest.raises(DataError, match=r"damaged|no zip|no tar"):
            open_path(str(path))


def test_a_tar_that_ends_within_a_picture_names_it(outside: Path) -> None:
    path = cut(make_tar(outside / "c.tar"), 1024 + 512 + 20)
    with pytest.raises(DataError, match=r"the archive is cut short(?s:.)*at b/1.png"):
        open_path(str(path))


def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(outside: Path) -> None:
    path = make_tar(outside / "h.tar", tar_member("c/1.png", png()))
    data = bytearray(path.read_bytes())
    data[1024 + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a header cannot be read(?s:.)*what follows a/1.png"):
        open_path(str(path))


def test_archives_joined_by_cat_are_refused(outside: Path) -> None:
    one, two = make_tar(outside / "1.tar"), make_tar(outside / "2.tar")
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(DataError, match="something follows its end"):
        open_path(str(one))


def test_damaged_bytes_never_end_in_a_traceback(outside: Path) -> None:
    """Thousands of archives with some bytes changed: a table whose pictures are whole or faulty, or exit code 3."""
    rng = random.Random(5)
    for make, suffix in ((make_zip, ".zip"), (make_tar, ".tar")):
        whole = make(outside / f"whole{suffix}").read_bytes()
        path = outside / f"damaged{suffix}"
        for _ in range(1500):
            data = bytearray(whole)
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            _look(path)


def _look(path: Path) -> None:
    said: list[str] = []
    source: Any = None
    try:
        source = open_path(str(path))
    except DataError as error:
        said = str(error).splitlines()
    assert len(said) <= 3
    if source is None:
        return
    for row, name in enumerate(source.table().paths):
        try:
            data = source.read(row)
        except PictureError:
            continue
        assert path.suffix == ".tar" or data in USUAL.values(), name  # a tar has no checksums of contents
        assert source.head(row, 9) == data[:9]


def test_predict_has_a_row_for_each_member_and_one_for_a_broken_archive(
    attacked: SimpleNamespace, outside: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_tar(outside / "x.tar", tar_member("../up.png", png()), tar_member("a/2.png", b"no picture"))
    broken = cut(make_zip(outside / "broken.zip"), 100)
    arguments = ["predict", attacked.run, path, broken, f"{path}/b", f"{path}/a/1.png", f"{path}/none.png"]
    assert main([str(argument) for argument in arguments]) == 3
    rows = [line.split(",") for line in capfd.readouterr().out.splitlines()[1:]]
    assert [row[0].removeprefix(f"{outside}/") for row in rows] == [
        "x.tar/../up.png", "x.tar/a/1.png", "x.tar/a/2.png", "x.tar/b/1.png", "broken.zip", "x.tar/b/1.png",
        "x.tar/a/1.png", "x.tar/none.png",
    ]  # fmt: skip
    errors = [row[3] for row in rows]
    assert [bool(error) for error in errors] == [True, False, True, False, True, False, False, True]
    assert errors[0] == "a path that leaves the archive"
    assert "damaged" in errors[4]
    assert errors[7] == "not in the archive"
