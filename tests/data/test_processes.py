"""Pictures decoded in worker processes: the same bits and errors as in threads, and nothing is left of them."""

from __future__ import annotations

import errno
import os
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsfit.data.canvases import Canvases, build
from clsfit.data.checks import refuse
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decoders
from clsfit.data.sources import FolderSource, folder
from clsfit.errors import ConfigError, DataError, PluginError, ResourceError

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
def test_what_a_data_set_raises_is_raised_here(rows: Callable[..., Any], method: str) -> None:
    acts: dict[int, BaseException] = {
        0: OSError(errno.ENOENT, "No such file", "/a/\udcff.png"),
        1: OSError("no number"),
        2: MemoryError("4 GiB"),
        3: PictureError("not a picture: ä"),
        4: ValueError("odd"),
        5: ZeroDivisionError("by nought"),
        6: SystemExit(3),
        7: DataError("what", "where", "remedy"),
        8: KeyboardInterrupt(),
    }
    with Decoders(method, 1) as decoders:
        decode = decoders.start(rows(20, acts), PREPARE)
        found: dict[int, BaseException] = {}
        for row in acts:
            with pytest.raises(BaseException) as caught:
                decode(row)
            found[row] = caught.value
        assert decode(9).ravel().tolist()[0] == 9  # none of it ended the worker
    assert type(found[0]) is FileNotFoundError
    assert (found[0].errno, found[0].strerror, found[0].filename) == (errno.ENOENT, "No such file", "/a/\udcff.png")
    for row in (1, 2, 3, 4, 7):
        assert (type(found[row]), str(found[row])) == (type(acts[row]), str(acts[row]))
    assert [(type(found[row]), str(found[row])) for row in (5, 6, 8)] == [
        (RuntimeError, "ZeroDivisionError: by nought"),
        (RuntimeError, "SystemExit: 3"),
        (RuntimeError, "KeyboardInterrupt: "),
    ]
    assert "in read" in found[4].__notes__[0]


def test_out_of_memory_in_the_last_tier_is_told(rows: Callable[..., Any], store: Path) -> None:
    for method in ("thread", "fork"):
        with Decoders(method, 2) as decoders, pytest.raises(MemoryError):
            build(
                rows(3, {1: MemoryError()}), np.arange(3), PREPARE, cache="off", workers=2, skip_bad=False,
                cache_dir=store, decoders=decoders,
            )  # fmt: skip


def test_every_thread_gets_what_it_asked_for(rows: Callable[..., Any]) -> None:
    wrong: list[Any] = []
    with Decoders("fork", 3) as decoders:
        decode = decoders.start(rows(600), PREPARE)

        def ask(first: int) -> None:
            try:
                wrong.extend(
                    row for row in range(first, 600, 8) if decode(row)[0, 0, :2].tolist() != [row % 256, row // 256]
                )
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


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


def test_a_data_set_that_cannot_be_sent_is_named(
    mixed: FolderSource, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rows(3, {0: threading.Lock()})
    with Decoders("spawn", 1) as decoders, pytest.raises(PluginError) as caught:
        decoders.start(source, PREPARE)
    assert caught.value.exit_code == 8
    assert "rows_of_the_test.Rows" in caught.value.where
    assert "--start-method thread or fork" in caught.value.remedy
    with Decoders("fork", 1) as decoders:
        assert decoders.start(source, PREPARE)(1)[0, 0, 0] == 1
    only_here = types.ModuleType("only_here")
    vars(only_here)["Here"] = type("Here", (), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with Decoders("spawn", 1) as decoders, pytest.raises(PluginError, match="No module named 'only_here'"):
        decoders.start(vars(only_here)["Here"](), PREPARE)
    assert pickle.loads(pickle.dumps(mixed)).table().paths == mixed.table().paths  # noqa: S301  made here


def test_where_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConfigError, match="cannot fork") as caught:
        Decoders("fork", 0)
    assert caught.value.exit_code == 2
