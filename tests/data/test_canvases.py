"""Canvases: every tier and worker count gives the same bits; what is bad is listed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clsfit.data import cache as files
from clsfit.data import canvases, checks, tiers
from clsfit.data.canvases import Canvases, build, stream
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.sources import FolderSource, folder
from clsfit.errors import DataError, ResourceError

Tree = Callable[..., Path]
TIERS = {"memory": "memory", "disk": "disk", "off": "stream"}


class Counting:
    """Counts reads of a source; has no stamp, so nothing is found again."""

    def __init__(self, source: Any) -> None:
        self.source, self.reads = source, 0

    def table(self) -> Any:
        return self.source.table()

    def read(self, row: int) -> Any:
        self.reads += 1
        return self.source.read(row)


def _build(source: Any, cache: str, folder: Path, **options: Any) -> tuple[Canvases, dict[int, str]]:
    values: dict[str, Any] = {"workers": 2, "skip_bad": False, "prepare": Prepare(3, 12), "rows": None}
    values |= options
    rows = values.pop("rows")
    rows = np.arange(len(source.table().paths)) if rows is None else np.array(rows)
    return build(source, rows, values.pop("prepare"), cache=cache, cache_dir=folder, **values)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [None, 12])
def test_equal_bits_from_every_tier_and_worker_count(
    mixed: FolderSource, store: Path, channels: int, side: int | None
) -> None:
    prepare = Prepare(channels, side)
    expected = [prepare(mixed.read(row)) for row in range(40)]
    for cache, tier in TIERS.items():
        for workers in (0, 1, 2, 4):
            made, bad = _build(mixed, cache, store / f"{cache}{workers}", workers=workers, prepare=prepare)
            assert (made.tier, bad) == (tier, {})
            assert made.uniform is None
            assert made.sizes.dtype == np.int64
            for row, canvas in enumerate(expected):
                assert np.array_equal(made.get(row), canvas)
                assert made.sizes[row].tolist() == list(canvas.shape[:2])


def test_equal_sizes_lie_in_one_array(equal: FolderSource, store: Path) -> None:
    for workers in (0, 2, 4):
        made, _ = _build(equal, "memory", store, workers=workers)
        assert made.uniform is not None
        assert made.uniform.shape == (40, 6, 8, 3)
        for row in range(40):
            assert np.shares_memory(made.get(row), made.uniform)
            assert np.array_equal(made.uniform[row], Prepare(3, 12)(equal.read(row)))
    assert _build(equal, "disk", store)[0].uniform is None


def test_one_odd_size_among_equal_ones(
    equal: FolderSource, store: Path, picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "_PROBE", 2)  # the odd one is not probed
    Path(equal.root, equal.table().paths[7]).write_bytes(picture(99, 7, 8))
    made, _ = _build(folder(Path(equal.root)), "memory", store)
    assert made.uniform is None
    for row in range(40):
        assert np.array_equal(made.get(row), Prepare(3, 12)(equal.read(row)))


def test_arrays_of_a_plugin(store: Path) -> None:
    class Digits:
        pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)

        def read(self, row: int) -> npt.NDArray[np.uint8]:
            return self.pixels[row]

    for cache, tier in TIERS.items():
        made, bad = build(Digits(), np.arange(30), Prepare(1), cache=cache, workers=1, skip_bad=False, cache_dir=store)
        assert (made.tier, bad) == (tier, {})
        assert all(np.array_equal(made.get(row)[..., 0], Digits.pixels[row]) for row in range(30))
    assert _files(store) == []  # without a stamp nothing is kept


@pytest.mark.parametrize("cache", TIERS)
def test_some_rows_keep_their_numbers(mixed: FolderSource, store: Path, cache: str) -> None:
    made, _ = _build(mixed, cache, store, rows=[31, 4, 17])
    for row in (4, 17, 31):
        assert np.array_equal(made.get(row), Prepare(3, 12)(mixed.read(row)))
        assert made.sizes[row].tolist() == list(made.get(row).shape[:2])
    if cache != "off":
        with pytest.raises(KeyError):
            made.get(5)


@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("which", ["mixed", "equal"])
def test_select(request: pytest.FixtureRequest, store: Path, cache: str, which: str) -> None:
    source = request.getfixturevalue(which)
    made, _ = _build(source, cache, store)
    chosen = made.select(np.array([9, 3, 30])).select(np.array([2, 0]))
    assert chosen.tier == made.tier
    assert (chosen.uniform is None) == (made.uniform is None)
    for place, row in enumerate((30, 9)):
        assert np.array_equal(chosen.get(place), made.get(row))
        assert chosen.sizes[place].tolist() == made.sizes[row].tolist()


@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_pictures_are_all_listed(mixed: FolderSource, store: Path, cache: str, workers: int) -> None:
    paths = mixed.table().paths
    Path(mixed.root, paths[3]).write_bytes(b"")
    Path(mixed.root, paths[8]).write_bytes(mixed.read(8)[:-20])
    Path(mixed.root, paths[21]).unlink()
    for skip in (False, True):
        made, bad = _build(mixed, cache, store, workers=workers, skip_bad=skip)
        assert list(bad) == [3, 8, 21]
        assert bad[3] == "empty file"
        assert "no such file" in bad[21]
        kept = made.select(np.array([row for row in range(40) if row not in bad]))
        assert np.array_equal(kept.get(3), Prepare(3, 12)(mixed.read(4)))
        assert _files(store) == []  # a file that cannot be read may be back next time


def test_auto_chooses_by_memory_then_by_disk(mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _build(mixed, "auto", store)[0].tier == "memory"
    monkeypatch.setattr(files, "available_memory", lambda: 1000)
    made, _ = _build(mixed, "auto", store)
    assert made.tier == "disk"
    assert "a quarter of the available memory" in made.why
    monkeypatch.setattr(files, "LIMIT_BYTES", 1000)
    made, _ = _build(mixed, "auto", store)
    assert made.tier == "stream"
    assert "cache directory" in made.why


def test_an_estimate_that_was_too_low_ends_in_the_next_tier(
    mixed: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvases, "estimate", lambda *_: tiers.Estimate(0, True))
    monkeypatch.setattr(files, "available_memory", lambda: 4000)
    made, _ = _build(mixed, "auto", store)
    assert made.tier == "disk"
    assert "more memory than was estimated" in made.why
    assert np.array_equal(made.get(11), Prepare(3, 12)(mixed.read(11)))


def test_too_little_address_space_for_one_array(
    equal: FolderSource, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = np.zeros

    def zeros(shape: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(shape, tuple) and len(shape) == 4:
            raise MemoryError
        return real(shape, *rest, **options)

    monkeypatch.setattr("clsfit.data.stores.np.zeros", zeros)
    made, _ = _build(equal, "memory", store)
    assert made.uniform is None
    assert np.array_equal(made.get(5), Prepare(3, 12)(equal.read(5)))


def test_the_data_set_stays_as_it_was(
    mixed: FolderSource, store: Path, tree_state: Callable[[Path], dict[str, Any]]
) -> None:
    before = tree_state(Path(mixed.root))
    for cache in (*TIERS, "auto"):
        made, _ = _build(mixed, cache, store / "cache")
        made.get(0)
    assert tree_state(Path(mixed.root)) == before


def test_a_stream_decodes_only_what_is_asked_for(mixed: FolderSource) -> None:
    source = Counting(mixed)
    made = stream(source, Prepare(3, 12))
    assert (made.tier, made.uniform, len(made.sizes), source.reads) == ("stream", None, 40, 0)
    assert np.array_equal(made.get(2), Prepare(3, 12)(mixed.read(2)))
    assert source.reads == 1
    Path(mixed.root, mixed.table().paths[5]).unlink()
    Path(mixed.root, mixed.table().paths[6]).write_bytes(b"no picture")
    for row, reason in ((5, "no such file"), (6, "not an accepted format")):
        with pytest.raises(PictureError, match=reason):
            made.get(row)


def test_a_checked_picture_that_changes_is_named(
    mixed: FolderSource, store: Path, picture: Callable[..., bytes]
) -> None:
    made, _ = _build(mixed, "off", store)
    paths = mixed.table().paths
    Path(mixed.root, paths[5]).unlink()
    Path(mixed.root, paths[6]).write_bytes(picture(0, 3, 3))
    for row in (5, 6):
        with pytest.raises(DataError, match="changed after it was checked") as caught:
            made.get(row)
        assert paths[row] in str(caught.value)


@pytest.mark.parametrize("cache", TIERS)
def test_other_errors_of_a_source_are_its_own(mixed: FolderSource, store: Path, cache: str) -> None:
    class Broken(Counting):
        def read(self, row: int) -> Any:
            if row == 20:
                raise ZeroDivisionError("a bug")
            return super().read(row)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        _build(Broken(mixed), cache, store)
    assert _files(store) == []


@pytest.mark.parametrize("missing", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_system_lacks_is_no_fault_of_a_picture(mixed: FolderSource, store: Path, missing: int) -> None:
    class Short(Counting):
        short = True

        def read(self, row: int) -> Any:
            if self.short and row == 20:
                raise OSError(missing, os.strerror(missing), "a.jpg")
            return super().read(row)

    source = Short(mixed)
    for cache in TIERS:
        with pytest.raises(ResourceError, match=os.strerror(missing)):
            _build(source, cache, store, skip_bad=True)
    with pytest.raises(ResourceError, match=os.strerror(missing)):
        stream(source, Prepare(3, 12)).get(20)
    with pytest.raises(ResourceError, match=os.strerror(missing)):
        checks.scan(source, source.table(), 2)
    source.short = False
    made, _ = _build(source, "off", store)
    source.short = True
    with pytest.raises(ResourceError, match=os.strerror(missing)):
        made.get(20)


def test_threads_read_at_once(mixed: FolderSource, store: Path) -> None:
    expected = [Prepare(3, 12)(mixed.read(row)) for row in range(40)]
    for cache in TIERS:
        made, _ = _build(mixed, cache, store)
        wrong: list[int] = []

        def read(made: Canvases = made, wrong: list[int] = wrong) -> None:
            wrong.extend(row for row in range(40) if not np.array_equal(made.get(row), expected[row]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
