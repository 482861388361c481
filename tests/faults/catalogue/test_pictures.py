"""Rows 19 and 24 to 30: files that are no pictures, odd pictures, pictures of odd names."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Tree = Callable[..., Path]
Kept = Callable[[Path], Path]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
TWO = {"cat/": 6, "dog/": 6}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(seed: int = 0, height: int = 16, width: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 16x16 colour pictures."""
    import clsfit

    data = tmp_path_factory.mktemp("colour") / "data"
    for seed in range(12):
        folder = data / "ab"[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed}.png").write_bytes(encoded(colours(seed)))
    options = {"model": {"name": "mlp", "hidden": [8]}, "epochs": 1, "threads": 1, "verbosity": 0, "device": "cpu"}
    return clsfit.train(data, output=data.parent / "run", **options).directory


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Callable[[str, Path], None]]:
    """``special("pipe", path)`` makes what is no regular file there."""
    sockets = []

    def make(kind: str, path: Path) -> None:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            here = os.getcwd()
            os.chdir(path.parent)  # a socket's path is short
            sockets.append(socket.socket(socket.AF_UNIX))
            sockets[-1].bind(path.name)
            os.chdir(here)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)

    yield make
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("pipe", "not a regular file"), ("socket", "not a regular file"), ("/dev/zero", "not a regular file")],
)
def test_row19_what_would_never_end_is_refused(
    fault: Any, tree: Tree, special: Any, kept: Kept, kind: str, reason: str
) -> None:
    top = tree(TWO)
    special(kind, top / "cat" / "x.jpg")
    fault(3, "train", kept(top), tells=["cat/x.jpg", reason, "remove"])


@pytest.mark.faults
def test_row19_predict_reads_around_it(fault: Any, run: Path, tree: Tree, special: Any, tmp_path: Path) -> None:
    top = tree(TWO)
    for kind in ("pipe", "socket", "/dev/zero", "nowhere", "folder"):
        special(kind, top / "cat" / f"x{Path(kind).name}.jpg")
    fault(3, "predict", run, top, "-o", "p.csv", tells=["4 of the pictures could not be read", "xpipe.jpg", "error"])
    rows = table(tmp_path / "p.csv")
    assert len(rows) == 16
    assert sum(bool(row["error"]) for row in rows) == 4


def bad_pictures() -> dict[str, bytes]:
    """Per format a picture that is cut in half; and what is called a picture only."""
    torn = {f"torn.{kind.lower()}": encoded(colours(), kind) for kind in FORMATS}
    torn = {name.replace("jpeg", "jpg"): data[: len(data) // 2] for name, data in torn.items()}
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    return torn | {
        "empty.jpg": b"",
        "page.jpg": page,
        "noise.png": bytes(range(256)) * 4,
        "head.png": b"\x89PNG\r\n\x1a\n",
    }


def test_row24_bad_pictures_are_listed_before_the_first_step(
    fault: Any, tree: Tree, tmp_path: Path, kept: Kept
) -> None:
    bad = bad_pictures()
    top = kept(tree({**TWO, **{f"cat/{name}": data for name, data in bad.items()}}))
    named = sorted(bad)[:3]
    fault(3, "train", top, "-o", "out", tells=[f"{len(bad)} pictures cannot be read", "--skip-bad", *named])
    assert not (tmp_path / "out").exists()
    for start in range(0, len(bad), 3):  # three at a time: each with its reason
        some = sorted(bad)[start : start + 3]
        one = kept(tree({**TWO, **{f"cat/{name}": bad[name] for name in some}}, f"tree{start}"))
        fault(3, "train", one, "-o", "out", tells=[f"cat/{name} (" for name in some])


@pytest.mark.faults
def test_row24_they_are_left_out_when_asked_and_never_replaced(
    fault: Any, tree: Tree, tmp_path: Path, small: list[str], kept: Kept
) -> None:
    bad = bad_pictures()
    top = kept(tree({**TWO, **{f"cat/{name}": data for name, data in bad.items()}}))
    options = [option for option in small if option != "-q"]
    done = fault(0, "train", top, *options, "--skip-bad", "-o", "out")
    assert f"left out {len(bad)} unreadable pictures" in done.err
    assert len(table(tmp_path / "out" / "split.csv")) == 12
    assert len(json.loads((tmp_path / "out" / "environment.json").read_text())["data"]["left_out"]) == len(bad)
    fault(3, "evaluate", "out", top, tells=[f"{len(bad)} pictures cannot be read", "repair or remove"])
    fault(3, "predict", "out", top, "-o", "p.csv", tells=[f"{len(bad)} of the pictures"])
    rows = table(tmp_path / "p.csv")
    assert [Path(row["path"]).name for row in rows if row["error"]] == sorted(bad)
    assert all(not row["predicted"] and not row["probability"] for row in rows if row["error"])


FOREIGN = {
    "psd": b"8BPS\0\1" + bytes(6) + b"\0\3" + bytes(40),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "fits": b"SIMPLE  =                    T" + b" " * 200,
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "ico": b"\0\0\1\0\1\0" + bytes(40),
    "avif": b"\0\0\0\x20ftypavif" + bytes(40),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_row25_other_formats_are_refused_whatever_they_are_called(
    fault: Any, tree: Tree, kept: Kept, kind: str
) -> None:
    top = kept(tree({**TWO, f"dog/{kind}.jpg": FOREIGN[kind]}))
    fault(3, "train", top, tells=[f"dog/{kind}.jpg (not an accepted format (JPEG, PNG, WebP, BMP, GIF, TIFF))"])


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose data is a compressed run of zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    jpeg = encoded(colours(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    gif = encoded(colours().convert("P"), "GIF")
    bmp = encoded(colours(), "BMP")
    tiff = bytearray(encoded(colours().convert("L"), "TIFF"))
    for tag in (256, 257):  # width, length
        place = tiff.index(struct.pack("<H", tag), 8)
        tiff[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 60000)
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (9999).to_bytes(3, "little") * 2
    webp += b"VP8 " + struct.pack("<I", 10) + b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", 9999, 9999)
    return {
        "60000.png": png_of(60_000, 60_000),
        "10000.png": png_of(10_000, 10_000),
        "60000.jpg": jpeg[:at] + struct.pack(">HH", 60_000, 60_000) + jpeg[at + 4 :],
        "60000.gif": gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:],
        "60000.bmp": bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:],
        "60000.tif": bytes(tiff),
        "10000.webp": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
    }


@pytest.mark.faults
def test_row26_bombs_are_refused_from_their_headers_in_bounded_memory(
    fault: Any, peak: Any, tree: Tree, run: Path, data: Path, tmp_path: Path, kept: Kept
) -> None:
    top = kept(tree({**TWO, **{f"cat/{name}": content for name, content in bombs().items()}}))
    fault(3, "train", top, tells=["7 pictures cannot be read", "million pixels"])
    plain = peak("predict", run, data / "bars" / "000.png", "-o", "plain.csv")
    with_bombs = peak("predict", run, top, "-o", "p.csv", code=3)
    errors = [row["error"] for row in table(tmp_path / "p.csv") if row["error"]]
    assert len(errors) == 7
    assert sum("million pixels" in error for error in errors) >= 6, errors
    assert with_bombs - plain < 200 << 20, f"{(with_bombs - plain) >> 20} MiB more"


@pytest.mark.faults
def test_row27_every_kind_of_pixel_has_one_result(fault: Any, colour_run: Path, tmp_path: Path) -> None:
    """A picture in another mode is predicted as its RGB in a PNG is, to the bit."""
    base = colours(1)
    gray = base.convert("L")
    high = np.asarray(gray).astype(np.uint16)
    clear = base.convert("RGBA")
    clear.putalpha(Image.fromarray(np.full((16, 16), 0, np.uint8)))
    paletted = base.quantize(16)
    frames = [base.quantize(16), *(colours(seed).quantize(16) for seed in range(2, 30))]
    bits = gray.point(lambda value: 255 * (value > 127)).convert("1")
    pairs: dict[str, tuple[bytes, Image.Image]] = {
        "plain.png": (encoded(base), base),
        "gray.png": (encoded(gray), gray.convert("RGB")),
        "bits.png": (encoded(bits), bits.convert("RGB")),
        "sixteen.png": (encoded(Image.fromarray(high * 256 + 77)), gray.convert("RGB")),
        "sixteen.tif": (encoded(Image.fromarray(high * 256 + 77), "TIFF"), gray.convert("RGB")),
        "float.tif": (encoded(Image.fromarray(high.astype(np.float32) / 255), "TIFF"), gray.convert("RGB")),
        "alpha.png": (encoded(clear), Image.new("RGB", (16, 16), "white")),
        "gray_alpha.png": (encoded(Image.merge("LA", (gray, Image.new("L", (16, 16), 255)))), gray.convert("RGB")),
        "palette.png": (encoded(paletted), paletted.convert("RGB")),
        "frames.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), frames[0].convert("RGB")),
        "cmyk.tif": (encoded(base.convert("CMYK"), "TIFF"), base.convert("CMYK").convert("RGB")),
    }
    jpeg = encoded(base.convert("CMYK"), "JPEG", quality=95)
    pairs["cmyk.jpg"] = (jpeg, Image.open(io.BytesIO(jpeg)).convert("RGB"))
    pairs["transparent.png"] = (encoded(paletted, transparency=0), _over_white(paletted))
    for name, (content, expected) in pairs.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.expected.png").write_bytes(encoded(expected))
    names = [*pairs, *(f"{name}.expected.png" for name in pairs)]
    fault(0, "predict", colour_run, *names, "-o", "p.csv", "--probabilities", "--batch-size", "1")
    rows = [list(row.values())[1:] for row in table(tmp_path / "p.csv")]
    for name, got, expected in zip(pairs, rows[: len(pairs)], rows[len(pairs) :], strict=True):
        assert got == expected, name


def _over_white(paletted: Image.Image) -> Image.Image:
    pixels = np.asarray(paletted.convert("RGB")).copy()
    pixels[np.asarray(paletted) == 0] = 255
    return Image.fromarray(pixels)


@pytest.mark.faults
def test_row28_orientation_is_applied_in_evaluate_and_predict(fault: Any, colour_run: Path, tmp_path: Path) -> None:
    """Eight files of one picture, each stored turned: one prediction."""
    picture = colours(3)
    stored = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
              4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
              7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}  # fmt: skip
    for kind in ("png", "tif", "webp"):
        for orientation, turn in stored.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = tmp_path / "data" / "ab"[orientation % 2] / f"{orientation}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = picture if turn is None else picture.transpose(turn)
            image.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    fault(0, "predict", colour_run, "data", "-o", "p.csv", "--probabilities", "--batch-size", "1")
    fault(0, "evaluate", colour_run, "data", "--predictions", "q.csv", "--batch-size", "1")
    said = {tuple(list(row.values())[-2:]) for name in ("p.csv", "q.csv") for row in table(tmp_path / name)}
    assert len(said) == 1
    assert len(table(tmp_path / "p.csv")) == len(table(tmp_path / "q.csv")) == 24


@pytest.mark.faults
def test_row29_the_smallest_and_the_thinnest(fault: Any, tree: Tree, png: Any, kept: Kept) -> None:
    shapes = [(1, 1), (1, 5000), (5000, 1), (2, 3)]
    content = {f"{name}/{i}.png": png(i, *shape) for name in "ab" for i, shape in enumerate(shapes * 2)}
    top = kept(tree(content))
    fault(0, "train", top, "--model", "mlp", "--model.hidden", "4", "--input-size", "16", "--epochs", "1", "-o", "out")
    assert len(fault(0, "predict", "out", top).out.splitlines()) == 17
    fault(0, "evaluate", "out", top)


def odd_names() -> list[bytes]:
    """Forty names of files, each ending in .png."""
    texts = [
        "plain", "two words", " leading", "trailing ", "new\nline", "carriage\rreturn", "tab\there", "quote\"d",
        "it's", "back\\slash", "comma,name", "semi;colon", "percent%s%d%n", "%(x)s", "{brace}", "x]", "[bold]red",
        "\x1b[31mred\x1b[0m", "\x07bell", "\x7f", "-o", "--help", "=cmd()", "+1", "@sum", "#comment", "~home", "$HOME",
        "`id`", "*", "?", "CON", "😀 emoji", "漢字", "\u202ereversed", "\u2028separator", "\ufeffbom",
    ]  # fmt: skip
    names = [os.fsencode(text) for text in texts]
    names += [os.fsencode(unicodedata.normalize(form, "é")) for form in ("NFC", "NFD")]
    names += [b"latin\xe9", b"x" * 251]
    assert len(set(names)) == 41
    return [name + b".png" for name in names]


@pytest.mark.faults
def test_row30_forty_odd_names(fault: Any, tmp_path: Path, kept: Kept, png: Any, small: list[str]) -> None:
    """Through train, resume, evaluate, predict, CSV and JSON lines, and back, in the poorest locale."""
    top, names = os.fsencode(tmp_path / "data"), odd_names()
    for label in (b"[", "größe 😀".encode()):
        os.makedirs(os.path.join(top, label))
        for seed, name in enumerate(names):
            with open(os.path.join(top, label, name), "wb") as file:
                file.write(png(seed))
    kept(tmp_path / "data")
    poor = {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
    options = [option for option in small if option != "-q"]
    fault(0, "train", "data", *options, "-o", "poor", env=poor)
    fault(0, "train", "data", *options, "-o", "out")
    whole = (tmp_path / "out" / "last.safetensors").read_bytes()
    (tmp_path / "out" / "summary.json").unlink()
    fault(0, "train", "data", *options, "-o", "out", "--resume")
    assert (tmp_path / "out" / "last.safetensors").read_bytes() == whole
    fault(0, "evaluate", "out", "data", "--predictions", "e.csv")
    fault(0, "predict", "out", "data", "-o", "p.csv", env=poor)
    fault(0, "predict", "out", "data", "-o", "p.jsonl")
    expected = {os.fsdecode(os.path.join(label, name)) for label in os.listdir(top) for name in names}
    of_split = {row["path"] for row in table(tmp_path / "out" / "split.csv")}
    of_table = {row["path"]: row["probability"] for row in table(tmp_path / "e.csv")}
    predicted = {row["path"].removeprefix("data/"): row["probability"] for row in table(tmp_path / "p.csv")}
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_bytes().splitlines()]
    assert of_split == set(of_table) == expected
    assert predicted == of_table
    assert {line["path"].removeprefix("data/"): repr(line["probability"]) for line in lines} == of_table
    given = [b"data/" + os.path.join(os.listdir(top)[0], name) for name in names]
    assert len(fault(0, "predict", "out", *given).out.splitlines()) >= 1 + len(names)


def test_row30_bad_files_of_odd_names_steer_nothing(fault: Any, tmp_path: Path, tree: Tree, kept: Kept) -> None:
    top = tree(TWO)
    for start in range(0, 41, 14):
        folder = Path(shutil.copytree(top, tmp_path / f"bad{start}"))
        for name in odd_names()[start : start + 14]:
            with open(os.path.join(os.fsencode(folder), b"cat", name), "wb"):
                pass
        kept(folder)
        fault(3, "train", folder, tells=["pictures cannot be read", "empty file"])
