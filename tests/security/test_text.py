"""Text from outside: none steers a terminal, and tables carry every name back unchanged."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsfit.errors import printable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there such names cannot be made")

Clsfit = Callable[..., subprocess.CompletedProcess[str]]

ESC, CSI, BEL, OSC = "\x1b[2J", "\x9b31m", "\a", "\x1b]0;owned\a"
STEERING = (ESC, CSI, BEL, OSC, "\r", "\b", "\x7f", "\x00".replace("\0", "\x01"), "\u202e", "\u2066", "\u200f", "\x85")
NAMES = (
    *("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' C calc'!A0", "\t=1", "'=1", '"=1"', "a,b", "a;b", 'a"b', "a\nb", "a\rb"),
    *(
        "a b",
        " a",
        "a ",
        "é",
        "e\u0301",
        "\U0001f600",
        "[bold]",
        "[red]x",
        "%s",
        "{0}",
        "--help",
        "~",
        "$(touch mark)",
    ),
    *("\u202egnp", ESC, BEL, "a\u2028b"),
)


def harmless(text: str) -> None:
    """Nothing but line ends, tabs aside, that a terminal would obey."""
    found = {c for c in text if c != "\n" and not c.isprintable()}
    assert not found, ascii(text)


def test_printable_leaves_nothing_that_steers() -> None:
    for text in (*STEERING, *NAMES, "\udcff\ud800", "\u200b\u200d\u2060\ufeff", "\u061c\u2069"):
        assert printable(text).isprintable()
        assert printable(printable(text)) == printable(text)
    assert printable("Grüße, 世界 😀") == "Grüße, 世界 😀"


@pytest.fixture(scope="module")
def hostile(attacked: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose folders and files steer terminals, below a folder that does."""
    root = tmp_path_factory.mktemp("text") / f"da{ESC}ta{CSI}\u202e"
    source = sorted((attacked.data / "bars").iterdir())
    for number, name in enumerate((f"a{ESC}", f"b{OSC}\u202e", "[bold][link=x]c", f"=1{CSI}\r")):
        (root / name).mkdir(parents=True)
        for file, picture in enumerate(source[:6]):
            shutil.copy(picture, root / name / f"{file}{STEERING[number + file]}.png")
    return root


def both(done: subprocess.CompletedProcess[str], *, raw_stdout: bool = False) -> None:
    harmless(done.stderr)
    if not raw_stdout:
        harmless(done.stdout)


def test_a_hostile_data_set_steers_no_terminal(hostile: Path, clsfit: Clsfit, tmp_path: Path) -> None:
    run = tmp_path / f"run{ESC}"
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1)
    both(clsfit("train", hostile, *small, "-o", run, "-v"), raw_stdout=True)  # the run's folder, for scripts
    both(clsfit("train", hostile, *small, "-o", run, code=2))
    both(clsfit("train", hostile, *small, "-o", run, "--resume"), raw_stdout=True)
    harmless((run / "log.txt").read_text())
    both(clsfit("evaluate", run))
    both(clsfit("evaluate", run, hostile, "--fail-under", "accuracy=2", code=9))
    both(clsfit("predict", run, hostile), raw_stdout=True)
    (hostile / f"a{ESC}" / f"bad{ESC}.png").write_bytes(b"\x89PNG\r\n\x1a\n\x1b[2J")
    try:
        both(clsfit("train", hostile, *small, "-o", tmp_path / "x", code=3))
        both(clsfit("train", hostile, *small, "-o", tmp_path / "x", "--skip-bad", "-q"), raw_stdout=True)
        both(clsfit("predict", run, hostile, code=3), raw_stdout=True)
    finally:
        (hostile / f"a{ESC}" / f"bad{ESC}.png").unlink()
    both(clsfit("train", f"{hostile}{ESC}", code=3))
    both(clsfit("predict", run, f"gone{ESC}", code=3), raw_stdout=True)
    both(clsfit("evaluate", f"gone{ESC}\u202e", code=4))
    both(clsfit("train", "--loss", f"fo{ESC}cal\u202e", code=2))
    both(clsfit("train", f"--lo{ESC}ss", code=2))
    both(clsfit(f"tr{ESC}ain", code=2))
    both(clsfit("plugins", "show", f"fo{ESC}cal", code=2))


def test_a_hostile_model_file_steers_no_terminal(
    attacked: SimpleNamespace, forged: Callable[..., Path], clsfit: Clsfit, run_command: Any, tmp_path: Path
) -> None:
    picture = attacked.data / "bars" / "000.png"

    def every_text(_: dict[str, object], inner: dict[str, object]) -> None:
        inner["classes"] = [f"{text}{STEERING[number]}" for number, text in enumerate("abc")]
        inner["clsfit"] = ESC

    file = forged(every_text)
    both(clsfit("predict", file, picture), raw_stdout=True)
    both(clsfit("evaluate", file, attacked.data, code=3))

    for change in (
        lambda _, inner: inner.update(format=ESC, clsfit=ESC + "\u202e"),
        lambda _, inner: inner["model"].update(name=ESC),
        lambda _, inner: inner["plugins"].append({"name": f"x{ESC}", "distribution": "y", "version": "1"}),
        lambda _, inner: inner["plugins"].append({"name": "x", "distribution": f"y{ESC}", "version": "1"}),
        lambda _, inner: inner["model"]["params"].update({f"hidden{ESC}": f"{ESC}\u202e"}),
        lambda _, inner: inner["model"]["params"].update(hidden=f"{ESC}\u202e"),
        lambda outer, _: outer.update({f"model.{ESC}": outer.pop("model.layers.0.bias")}),
    ):
        code, *streams = run_command(["predict", forged(change), picture], tmp_path, os.environ)
        out, err = (stream.decode() for stream in streams)
        assert code in {4, 8}, err
        harmless(err)
        harmless(out)


METADATA = "Metadata-Version: 2.1\nName: clsfit-hostile\nVersion: 1\x1b[2J\n"
PLUGIN = f'''
from dataclasses import dataclass
from typing import Annotated
from clsfit import Component, hookimpl

@dataclass
class Options:
    x: Annotated[float, "help{ESC}[bold]x[/] {CSI}\u202e"] = 1.0

@hookimpl
def clsfit_losses():
    yield Component("hostile", "hostile_plugin:Hostile", "says {ESC} {OSC} [link=x]y[/link] \u202e", Options, "{ESC}")
    yield Component("fails", "hostile_plugin:fails", "{BEL}")

def fails():
    raise RuntimeError("{ESC}\u202e[/bold]\\nsecond\\rline")
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with plugins whose metadata, help texts and errors steer terminals."""
    folder = tmp_path_factory.mktemp("hostile-plugin")
    (folder / "hostile_plugin.py").write_text(PLUGIN)
    (folder / "hostile_broken.py").write_text(f'raise RuntimeError("{ESC}{CSI}\u202e[/bold]")\n')
    info = folder / "clsfit_hostile-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(f"[clsfit]\nhos{ESC}tile = hostile_plugin\nbroken\u202e = hostile_broken\n")
    return folder


def test_a_hostile_plugin_steers_no_terminal(installed: Path, clsfit: Clsfit, attacked: SimpleNamespace) -> None:
    path = {"PYTHONPATH": f"{installed}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    plain = path | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
    listed = clsfit("plugins", "list", **plain)
    assert "says" in listed.stdout, "the plugin was not found"
    assert "failed to load" in listed.stderr
    both(listed)
    both(clsfit("plugins", "show", "hostile", **plain))
    both(clsfit("plugins", "show", "fails", **plain))
    both(clsfit("train", attacked.data, "--loss", "fails", "--dry-run", code=8, **plain))
    both(clsfit("train", "--loss", "hostile", "--loss.x", "y", code=2, **plain))
    both(clsfit("train", "--loss", "hostil", code=2, **plain))
    for words in (("train", "--loss", "hostile", "--help"), ("plugins", "--help"), ("--help",)):
        page = clsfit(*words, **plain)
        both(page)
    assert "[bold]x[/]" in clsfit("train", "--loss", "hostile", "--help", **plain).stdout, "markup is text"
    json.loads(clsfit("plugins", "list", "--json", **plain).stdout)
    json.loads(clsfit("config", "schema", **plain).stdout)


@pytest.fixture(scope="module")
def named(attacked: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures whose names spreadsheets, shells or terminals would obey."""
    folder = tmp_path_factory.mktemp("named")
    picture = next((attacked.data / "bars").iterdir())
    for name in NAMES:
        shutil.copy(picture, folder / f"{name}.png")
    return folder


def test_thirty_names_come_back_from_csv_and_jsonl(
    named: Path, attacked: SimpleNamespace, clsfit: Clsfit, run_command: Any, tmp_path: Path
) -> None:
    assert len(set(NAMES)) == 30
    wanted = sorted(f"{named}/{name}.png" for name in NAMES)
    _, out, _ = run_command(["predict", attacked.run, named], tmp_path, os.environ)
    rows = list(csv.DictReader(io.StringIO(out.decode(), newline="")))
    assert sorted(row["path"] for row in rows) == wanted
    clsfit("predict", attacked.run, named, "-o", tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_bytes().split(b"\n")[:-1]
    assert sorted(json.loads(line)["path"] for line in lines) == wanted
    clsfit("predict", attacked.run, named, "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == out
