"""The same small pictures as a folder, a CSV table and Parquet files; the command line in this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tests run side by side

from clsfit.testing import draw_pictures

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the user's, a cache of the test session's own."""
    for name in [name for name in os.environ if name.startswith("CLSFIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def clsfit() -> Callable[..., Done]:
    """``clsfit("train", path, ..., code=0)``: the command in this process; its exit code is checked."""
    from clsfit.cli import main

    def run(*words: Any, code: int | set[int] = 0) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            got = int(main([str(word) for word in words]))
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        assert got in ({code} if isinstance(code, int) else code), f"exit {got}\n{texts[0]}\n{texts[1]}"
        return Done(got, *texts)

    return run


@dataclass(frozen=True)
class Drawn:
    """Pictures in the same order everywhere.

    Attributes:
        folder: a folder per class.
        paths: relative to it.
        labels: of each.
    """

    folder: Path
    paths: list[str]
    labels: list[str]

    def pictures(self) -> list[bytes]:
        """The bytes of each."""
        return [(self.folder / path).read_bytes() for path in self.paths]

    def columns(self, **more: Any) -> dict[str, Any]:
        """The columns of a table with the pictures' bytes."""
        return {"image": self.pictures(), "path": self.paths, "label": self.labels} | more

    def structs(self, **more: Any) -> dict[str, Any]:
        """The same as Hugging Face's datasets write it."""
        images = [{"bytes": b, "path": p} for b, p in zip(self.pictures(), self.paths, strict=True)]
        return {"image": pa.array(images, IMAGE), "label": self.labels} | more


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = draw_pictures(tmp_path_factory.mktemp("drawn") / "pictures")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    return Drawn(folder, paths, [path.partition("/")[0] for path in paths])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(columns, row_group_size=5)``: a Parquet file of them in ``tmp_path``."""

    def run(columns: dict[str, Any] | pa.Table, name: str = "photos.parquet", **options: Any) -> Path:
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, tmp_path / name, **options)
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of modules that a new interpreter can import."""
    folder = tmp_path_factory.mktemp("scripts")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
