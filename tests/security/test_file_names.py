"""Forty names of files that nobody should give: each goes through every command and comes back as it is on the disk."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit import keyed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such names cannot be made")

Ended = tuple[bytes, str]
Command = Callable[..., Ended]

TEXTS = (
    *(
        "a b",
        " a",
        "a ",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\r\nb",
        "é",
        "e\u0301",
        "\U0001f600",
        "世界",
        "\u202egnp",
        "a\u2028b",
    ),
    *(
        "-1",
        "--help",
        "-o",
        "@x",
        "=1+1",
        "~",
        "*",
        "?",
        "$(touch mark)",
        "`id`",
        "%s",
        "{0}",
        "a,b",
        "a;b",
        'a"b',
        "'",
    ),
    *("\x1b[2J", "\x1b]0;owned\a", "[bold]x[bold]", "<b onclick=x>", "&amp;", "#", "x" * 251, "é" * 125 + "x"),
)
NAMES = (*(os.fsencode(f"{text}.png") for text in TEXTS), b"\xff\xfe.png", b"caf\xe9.png", b"\xed\xa0\x80.png")
"""Of the last three no byte sequence is UTF-8."""

SMALL = ("--model", "mlp", "--model.hidden", "4", "--epochs", "1", "--threads", "1", "--device", "cpu")


def paths(names: tuple[bytes, ...]) -> list[str]:
    return sorted(f"{label}/{os.fsdecode(name)}" for label in "ab" for name in names)


def make(root: Path, names: tuple[bytes, ...]) -> Path:
    """``a/NAME`` and ``b/NAME`` with the same bytes, so that a check names each."""
    pixels = (255 * keyed.uniform(5, np.arange(len(names)), 64)).astype("uint8").reshape(-1, 8, 8)
    for label in (b"a", b"b"):
        folder = os.path.join(os.fsencode(root), label)
        os.makedirs(folder)
        for name, picture in zip(names, pixels, strict=True):
            with open(os.path.join(folder, name), "wb") as file:
                Image.fromarray(picture).save(file, "PNG")
    return root


def state(root: Path) -> dict[bytes, tuple[int, int, bytes]]:
    """Mode, time of change and bytes of all that lies below ``root``, and of itself."""
    found = {}
    for folder, _, files in os.walk(os.fsencode(root)):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            content = b"" if path == folder else Path(os.fsdecode(path)).read_bytes()
            found[path] = (os.lstat(path).st_mode, os.lstat(path).st_mtime_ns, content)
    return found


def harmless(text: str) -> None:
    """Nothing but line ends that a terminal would obey."""
    assert not {c for c in text if c != "\n" and not c.isprintable()}, ascii(text)


@pytest.fixture
def command(run_command: Any, tmp_path: Path) -> Command:
    """``command("train", ...)``: stdout, and stderr, in which nothing steers a terminal."""

    def run(*words: object) -> Ended:
        code, out, err = run_command([str(word) for word in words], tmp_path, os.environ)
        text = err.decode("utf-8", "surrogateescape")
        assert code == 0, text
        harmless(text)
        return out, text

    return run


def columns(data: bytes, column: str = "path") -> list[str]:
    text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    return sorted(row[column] for row in csv.DictReader(text))


def duplicates(out: bytes) -> list[str]:
    """The paths of all pairs that ``data check --json`` told."""
    found = json.loads(out.decode("utf-8", "surrogateescape"))
    return sorted(path for pair in found["duplicates"] for path in pair["paths"])


def test_there_are_forty_and_they_are_as_long_as_names_can_be() -> None:
    assert len(set(NAMES)) == 40
    assert max(map(len, NAMES)) == 255


def test_a_folder_of_them_goes_through_every_command(command: Command, tmp_path: Path) -> None:
    data, wanted = make(tmp_path / "data", NAMES), paths(NAMES)
    before = state(data)
    assert duplicates(command("data", "check", data, "--json")[0]) == wanted
    harmless(command("data", "check", data, "--html", tmp_path / "page.html")[0].decode())
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b onclick" not in page
    harmless(page)
    command("train", data, *SMALL, "-o", tmp_path / "run", "-v")
    assert columns((tmp_path / "run/split.csv").read_bytes()) == wanted
    command("train", data, *SMALL, "-o", tmp_path / "run", "--resume")
    command("evaluate", tmp_path / "run", data, "--predictions", tmp_path / "judged.csv")
    assert columns((tmp_path / "judged.csv").read_bytes()) == wanted
    out, _ = command("predict", tmp_path / "run", data)
    assert columns(out) == sorted(f"{data}/{path}" for path in wanted)
    command("predict", tmp_path / "run", data, "-o", tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
    assert sorted(json.loads(line)["path"] for line in lines) == sorted(f"{data}/{path}" for path in wanted)
    command("data", "preview", data, "-o", tmp_path / "seen.png", "--augment", "hflip")
    assert state(data) == before


def test_a_table_holds_all_that_are_text(command: Command, tmp_path: Path) -> None:
    names = tuple(os.fsencode(f"{text}.png") for text in TEXTS)
    data, wanted = make(tmp_path / "data", names), paths(names)
    command("data", "split", data, "-o", tmp_path / "split.csv")
    below = [f"data/{path}" for path in wanted]
    assert columns((tmp_path / "split.csv").read_bytes()) == below
    text = io.StringIO((tmp_path / "split.csv").read_bytes().decode(), newline="")
    held_out = sorted(row["path"] for row in csv.DictReader(text) if row["split"] == "val")
    assert len(held_out) > 10
    objects = [{"file": path, "label": path[5]} for path in below]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    for table in ("split.csv", "table.jsonl"):
        assert duplicates(command("data", "check", tmp_path / table, "--json")[0]) == below
        run = tmp_path / f"of-{table}"
        command("train", tmp_path / table, *SMALL, "-o", run)
        assert columns((run / "split.csv").read_bytes()) == below
        command("evaluate", run, tmp_path / table, "--predictions", tmp_path / "judged.csv")
        judged = columns((tmp_path / "judged.csv").read_bytes())
        assert judged == (below if table == "table.jsonl" else held_out)


def test_no_table_is_written_that_would_be_read_back_as_another(run_command: Any, tmp_path: Path) -> None:
    data = make(tmp_path / "data", NAMES)
    code, _, err = run_command(["data", "split", str(data), "-o", "split.csv"], tmp_path, os.environ)
    assert code == 3
    assert b"a name is no text" in err
    harmless(err.decode())
    assert not (tmp_path / "split.csv").exists()


def test_an_archive_holds_all_that_are_text(command: Command, tmp_path: Path) -> None:
    names = tuple(os.fsencode(f"{text}.png") for text in TEXTS)
    data, wanted = make(tmp_path / "data", names), paths(names)
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in wanted:
            archive.writestr(path, (data / path).read_bytes())
    before = packed.read_bytes(), packed.stat().st_mtime_ns
    assert duplicates(command("data", "check", packed, "--json")[0]) == wanted
    command("train", packed, *SMALL, "-o", tmp_path / "run")
    assert columns((tmp_path / "run/split.csv").read_bytes()) == wanted
    assert columns(command("predict", tmp_path / "run", packed)[0]) == sorted(f"{packed}/{path}" for path in wanted)
    assert (packed.read_bytes(), packed.stat().st_mtime_ns) == before
