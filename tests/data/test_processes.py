"""Pictures decoded in worker processes: the same bits and errors as in threads, and nothing is left of them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsfit.data.canvases import Canvases, build
from clsfit.data.checks import refuse
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.data.sources import FolderSource, folder
from clsfit.errors import ConfigError, DataError, ResourceError

METHODS = ["fork", "spawn"]
TIERS = {"memory": "memory", "disk": "disk", "off": "stream"}
PREPARE = Prepare(3, 12)


def _built(source: Any, method: str, workers: int, cache: str, store: Path) -> tuple[list[bytes], Canvases]:
    with Decoders(method, workers) as decoders:
        made, bad = build(
            source,
            np.arange(len(source.table().paths)),
            PREPARE,
            cache=cache,
            workers=workers,
            skip_bad=False,
            cache_dir=store,
            decoders=decoders,
        )
        assert bad == {}
        assert decoders._team == [] or cache == "off"
        canvases = [made.get(row) for row in range(len(made.sizes))]
        assert all(canvas.flags.c_contiguous for canvas in canvases)
        assert made.sizes.tolist() == [list(canvas.shape[:2]) for canvas in canvases]
        return [str(canvas.shape).encode() + canvas.tobytes() for canvas in canvases], made


def _cells() -> Iterator[Any]:
    for method in ("thread", "fork", "spawn"):
        for workers in (0, 1, 2, 4):
            for cache in TIERS:
                usual = (method == "fork" and workers in {1, 2}) or (method, workers, cache) == ("spawn", 2, "off")
                yield pytest.param(method, workers, cache, marks=[] if usual else pytest.mark.faults)


@pytest.mark.parametrize(("method", "workers", "cache"), list(_cells()))
def test_every_way_gives_the_same_bytes(
    mixed: FolderSource, store: Path, method: str, workers: int, cache: str
) -> None:
    expected = [PREPARE(mixed.read(row)) for row in range(40)]
    found, made = _built(mixed, method, workers, cache, store)
    assert found == [str(canvas.shape).encode() + canvas.tobytes() for canvas in expected]
    assert made.tier == TIERS[cache]
    processes = workers and method != "thread"
    assert made.decoded_by == (f"{workers} process{'es'[: 2 * (workers > 1)]} ({method})" if processes else "")
    if cache == "disk":
        again, cached = _built(mixed, method, workers, cache, store)
        assert (again, cached.decoded_by) == (found, "")  # nobody is started for what lies there


@pytest.mark.parametrize("method", METHODS)
def test_errors_are_those_of_threads(
    make_tree: Callable[..., Path], picture: Callable[..., bytes], store: Path, method: str
) -> None:
    source = folder(make_tree({"a/ä.png": None, "b/torn.png": picture(1)[:90], "a/gone.png": None, "a/no.png": b"x"}))
    os.unlink(os.path.join(source.root, "a/gone.png"))
    told = {}
    for way in ("thread", method):
        with Decoders(way, 2) as decoders:
            made, bad = build(
                source, np.arange(4), PREPARE, cache="off", workers=2, skip_bad=True, cache_dir=store / way,
                decoders=decoders,
            )  # fmt: skip
            told[way] = [str(refuse(bad, source.table().paths))]
            assert len(bad) == 3
            os.rename(os.path.join(source.root, "a/ä.png"), os.path.join(source.root, "away"))
            with pytest.raises(DataError) as later:
                made.get(source.table().paths.index("a/ä.png"))
            told[way].append(str(later.value))
            os.rename(os.path.join(source.root, "away"), os.path.join(source.root, "a/ä.png"))
    assert told[method] == told["thread"]
    assert "no such file" in told[method][1]


@pytest.mark.parametrize("method", METHODS)
def test_what_a_worker_raises_is_raised_here(rows: Callable[..., Any], method: str) -> None:
    acts = {
        0: "raise PictureError('not a picture: ä \\udcff\\n')",
        1: "raise MemoryError('4 GiB')",
        2: "raise ZeroDivisionError('by nought')",
        3: "raise SystemExit(3)",
        4: "raise KeyboardInterrupt",
    }
    with Decoders(method, 1) as decoders:
        decode = decoders.start(rows(20, acts), PREPARE)
        found: dict[int, BaseException] = {}
        for row in acts:
            with pytest.raises(BaseException) as caught:
                decode(row)
            found[row] = caught.value
        assert decode(9).ravel().tolist()[0] == 9  # none of it ended the worker
    assert [(type(error), str(error)) for error in found.values()] == [
        (PictureError, "not a picture: ä \udcff\n"),
        (MemoryError, "4 GiB"),
        (RuntimeError, "in a worker process: ZeroDivisionError: by nought"),
        (RuntimeError, "in a worker process: SystemExit: 3"),
        (RuntimeError, "in a worker process: KeyboardInterrupt"),
    ]
    assert "in prepare" in found[2].__notes__[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_data_set_is_read_by_this_process_alone(rows: Callable[..., Any], method: str) -> None:
    class Stranger:
        """Known to this process only, and nothing of it could be sent."""

        def __init__(self) -> None:
            self.readers: list[tuple[int, int]] = []
            self.within = rows(9)

        def table(self) -> Any:
            return self.within.table()

        def read(self, row: int) -> Any:
            self.readers.append((os.getpid(), threading.get_ident()))
            if row == 3:
                raise FileNotFoundError(errno.ENOENT, "No such file", "/a/\udcff.png")
            return self.within.read(row)

    with Decoders(method, 2) as decoders:
        source = Stranger()
        decode = decoders.start(source, PREPARE)
        assert [int(decode(row)[0, 0, 0]) for row in (0, 1, 2)] == [0, 1, 2]
        with pytest.raises(FileNotFoundError) as caught:
            decode(3)
        assert int(decode(4)[0, 0, 0]) == 4
        again = decoders.start(rows(20), PREPARE)  # the same workers do for any source
        assert int(again(19)[0, 0, 0]) == 19
    assert caught.value.filename == "/a/\udcff.png"
    assert source.readers == [(os.getpid(), threading.get_ident())] * 5


def test_pixels_are_prepared_by_whoever_asks() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    given: list[Any] = [pixels, "a text"]
    source = SimpleNamespace(read=given.__getitem__)
    with Decoders("fork", 1) as decoders:
        decode = decoders.start(source, PREPARE)
        decoders._team[0].process.kill()  # nobody needs it
        assert np.array_equal(decode(0), PREPARE(pixels))
        with pytest.raises(PictureError, match="a data set gives bytes or uint8 arrays, not str"):
            decode(1)


@pytest.mark.parametrize("method", METHODS)
def test_long_files_travel_whole(rows: Callable[..., Any], method: str) -> None:
    source = SimpleNamespace(read=lambda row: bytearray(f"{row}|||".encode() + row * b"x" * 10**6))
    rows(1)
    with Decoders(method, 1) as decoders:
        decode = decoders.start(source, PREPARE)
        assert [int(decode(row)[0, 0, 0]) for row in (0, 40, 1, 7)] == [0, 40, 1, 7]


def test_out_of_memory_in_the_last_tier_is_told(rows: Callable[..., Any], store: Path) -> None:
    for method in ("thread", "fork"):
        with Decoders(method, 2) as decoders, pytest.raises(MemoryError):
            build(
                rows(3, {1: "raise MemoryError"}), np.arange(3), PREPARE, cache="off", workers=2, skip_bad=False,
                cache_dir=store, decoders=decoders,
            )  # fmt: skip


def test_every_thread_gets_what_it_asked_for(
    rows: Callable[..., Any], in_a_thread: Callable[[Callable[[], object]], Callable[[], object]]
) -> None:
    with Decoders("fork", 3) as decoders:
        decode = decoders.start(rows(600), PREPARE)

        def wrong(first: int) -> list[int]:
            return [row for row in range(first, 600, 8) if decode(row)[0, 0, :2].tolist() != [row % 256, row // 256]]

        asking = [in_a_thread(partial(wrong, first)) for first in range(8)]
        assert [result() for result in asking] == [[]] * 8


def test_an_exchange_that_was_cut_off_spoils_no_other(
    rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Decoders("fork", 1) as decoders:
        decode = decoders.start(rows(3), PREPARE)
        with monkeypatch.context() as patch:
            patch.setattr("clsfit.data.worker.receive", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                decode(1)
        with pytest.raises(ResourceError, match="killed by signal 9"):
            decode(2)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_where_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConfigError, match="cannot fork") as caught:
        Decoders("fork", 0)
    assert caught.value.exit_code == 2
