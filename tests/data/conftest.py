"""Small pictures and folders of them."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsfit.data import sources
from clsfit.data.prepare import Prepare
from clsfit.data.sources import FolderSource, folder


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """``encode(image, format, **options)``: the bytes of a picture."""

    def run(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return run


@pytest.fixture
def picture(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    """``picture(seed, height, width)``: the bytes of a colourful PNG, lossless."""

    def run(seed: int = 0, height: int = 6, width: int = 8, kind: str = "PNG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return encode(Image.fromarray(pixels), kind)

    return run


@pytest.fixture
def make_tree(tmp_path: Path, picture: Callable[..., bytes]) -> Callable[..., Path]:
    """``make_tree({"cat/a.png": bytes, "dog/": None})``: a folder; without bytes it makes a picture or a folder."""

    def run(content: dict[str, bytes | None] | list[str], root: str = "photos") -> Path:
        top = tmp_path / root
        top.mkdir(parents=True, exist_ok=True)
        items = content.items() if isinstance(content, dict) else [(name, None) for name in content]
        for seed, (name, data) in enumerate(items):
            path = top / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed) if data is None else data)
        return top

    return run


TARS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """``pack(folder, "deflated.zip", top="")``: an archive of a folder, in it below ``top``, folders included.

    Also ``stored.zip``, ``ustar.tar``, ``gnu.tar``, ``pax.tar``.
    """

    def run(root: Path, name: str = "deflated.zip", top: str = "") -> Path:
        path, how = tmp_path / name, name.partition(".")[0]
        members = sorted(root.rglob("*"))
        if name.endswith(".zip"):
            method = zipfile.ZIP_STORED if how == "stored" else zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(path, "w", method) as made:
                for member in members:
                    made.write(member, top + str(member.relative_to(root)))
        else:
            with tarfile.open(path, "w", format=TARS[how]) as made:
                for member in members:
                    made.add(member, top + str(member.relative_to(root)), recursive=False)
        return path

    return run


@pytest.fixture
def tree_state() -> Callable[[Path], dict[str, Any]]:
    """``tree_state(root)``: names, contents and times of everything below."""

    def run(root: Path) -> dict[str, Any]:
        result = {}
        for place, _, names in os.walk(root):
            result[place] = os.stat(place).st_mtime_ns
            for name in names:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    result[path] = (os.stat(path).st_mtime_ns, hashlib.sha256(file.read()).hexdigest())
        return result

    return run


@pytest.fixture
def mixed(make_tree: Callable[..., Path], picture: Callable[..., bytes]) -> FolderSource:
    """40 pictures of several sizes and kinds."""
    kinds = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
    content = {
        f"{'ab'[i % 2]}/{i}.png": picture(i, 5 + i % 4 * 9, 6 + i % 3 * 7, kinds[i % len(kinds)]) for i in range(40)
    }
    return folder(make_tree(content))


@pytest.fixture
def equal(make_tree: Callable[..., Path], picture: Callable[..., bytes]) -> FolderSource:
    """40 pictures of one size."""
    return folder(make_tree({f"{'ab'[i % 2]}/{i}.png": picture(i, 6, 8) for i in range(40)}))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty cache directory, away from the pictures."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that are opened, from now on."""
    paths: list[str] = []
    real = sources.read_regular

    def noting(path: str, length: int | None = None) -> bytes:
        paths.append(path)
        return real(path, length)

    monkeypatch.setattr(sources, "read_regular", noting)
    return paths


@pytest.fixture
def children() -> Callable[[int], list[int]]:
    """``children(pid)``: the processes whose parent is ``pid``, without those that have ended."""

    def run(parent: int) -> list[int]:
        lines = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,stat=,comm="], text=True).splitlines()
        rows = [line.split(maxsplit=3) for line in lines]
        return [int(pid) for pid, of, state, name in rows if int(of) == parent and state[0] != "Z" and name != "ps"]

    return run


@pytest.fixture
def eventually() -> Callable[..., None]:
    """``eventually(condition)`` returns once it holds, and fails where it does not within ``seconds``."""

    def run(condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    return run


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """``gone(pid)``: whether that process has ended, waited for or not."""

    def run(pid: int) -> bool:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return state[:1] in {"", "Z"}

    return run


_ROWS = '''
"""A data set whose pictures are texts, and how they are prepared: 1x1, of their row; some do something else."""
import faulthandler, gc, os, signal, sys, threading, time
from types import SimpleNamespace

import numpy as np

from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare


class Rows:
    def __init__(self, count, acts=None, place=""):
        self.count, self.acts, self.place = count, acts or {}, place
        self.lock = threading.Lock()  # as strangers' data sets may have: it can be sent nowhere

    def table(self):
        return SimpleNamespace(paths=[f"row {i}" for i in range(self.count)])

    def read(self, row):
        act = self.acts.get(row, "")
        return act if isinstance(act, np.ndarray) else f"{row}|{act}|{self.place}|".encode()


def prepare(self, picture):
    if isinstance(picture, np.ndarray):
        return picture
    row, act, place, filling = picture.decode().split("|", 3)
    if act == "wait":
        open(os.path.join(place, str(os.getpid())), "w").close()
        time.sleep(600)
    if act == "die":
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)
    if act == "collect":
        gc.collect()
    if act.startswith("raise "):
        raise eval(act.removeprefix("raise "))
    time.sleep(0.0005 * (int(row) * 7 % 3))
    return np.array([[[int(row) % 256, int(row) // 256, "torch" in sys.modules]]], dtype=np.uint8)


Prepare.__call__ = prepare
'''


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``rows(count, {row: act})``: a data set of pictures that do something while they are prepared.

    Every interpreter that the test starts prepares them so too: it finds a ``sitecustomize`` on its path.
    """
    (tmp_path / "rows_of_the_test.py").write_text(_ROWS)
    (tmp_path / "sitecustomize.py").write_text("import rows_of_the_test\n")
    (tmp_path / "marks").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setattr(Prepare, "__call__", Prepare.__call__)  # so that it is put back
    module = importlib.import_module("rows_of_the_test")
    yield lambda count, acts=None: module.Rows(count, acts, str(tmp_path / "marks"))
    del sys.modules["rows_of_the_test"]


@pytest.fixture
def in_a_thread() -> Callable[[Callable[[], object]], Callable[[], object]]:
    """``in_a_thread(work)()``: what ``work`` returned or raised; fails where it does not end, and leaves it there."""

    def start(work: Callable[[], object]) -> Callable[[], object]:
        results: list[object] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                results.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def result() -> object:
            thread.join(30)
            assert results, "it goes on for ever"
            return results[0]

        return result

    return start
