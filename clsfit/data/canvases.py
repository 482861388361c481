"""Prepared pictures, from memory, from a mapped cache file, or decoded again each time: equal to the bit."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data import cache as files
from clsfit.data.checks import fault_of, reason_of
from clsfit.data.child import Canvas
from clsfit.data.decode import PictureError, made_by
from clsfit.data.prepare import Prepare
from clsfit.data.processes import Decode, Decoders
from clsfit.data.stores import MappedStore, MappedWriter, MemoryWriter, NoRoom, Store, StreamStore
from clsfit.data.threads import Progress, over_rows
from clsfit.data.tiers import Estimate, estimate, order, shown
from clsfit.errors import ResourceError

_CHUNK = 16  # pictures per piece of work
_FLUSH = 4 << 20  # bytes of canvases that one thread holds before they are put in place


class Canvases:
    """The canvases of a table's rows. Safe for several threads.

    Attributes:
        sizes: [N, 2] int64, height and width; (1, 1) where a row was not built or not decoded yet.
        uniform: [N, H, W, C] uint8, all canvases where they lie in memory and have one size, else None.
        tier: "memory", "disk" or "stream".
        why: why this tier, one line.
        decoded_by: the processes that decoded them, as ``2 processes (fork)``; empty: threads, or an earlier run.
        times: how many times as many pictures there are in the data set for which a sample stands; else 1.
    """

    times = 1.0

    def __init__(self, store: Store, sizes: npt.NDArray[np.int64], tier: str, why: str, decoded_by: str = "") -> None:
        self._store = store
        self.sizes, self.tier, self.why, self.decoded_by = sizes, tier, why, decoded_by
        self.uniform: npt.NDArray[np.uint8] | None = store.uniform

    def get(self, row: int) -> Canvas:
        """uint8 [H, W, C] of ``row``; in memory it is the canvas itself, so do not change it.

        Raises:
            PictureError: tier "stream" could not read a picture that was never checked.
            DataError: tier "stream": a picture that was checked has changed or vanished since.
            ResourceError: tier "stream": a worker process has died.
            KeyError: the row was not built.
        """
        return self._store.get(row)

    def select(self, rows: npt.NDArray[np.int64]) -> Canvases:
        """Canvases whose row i is this one's ``rows[i]``; nothing is decoded again."""
        chosen = np.asarray(rows, dtype=np.int64)
        selected = Canvases(self._store.select(chosen), self.sizes[chosen], self.tier, self.why, self.decoded_by)
        selected.times = self.times
        return selected


def build(
    source: Any,
    table_rows: npt.NDArray[np.int64],
    prepare: Prepare,
    *,
    cache: str,
    workers: int,
    skip_bad: bool,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    decoders: Decoders | None = None,
) -> tuple[Canvases, dict[int, str]]:
    """Decodes every picture of ``table_rows`` once, which is the check that none is corrupt.

    A cache file of the same pictures, or the remembered check of ``cache="off"``, stands for it. A cache
    directory that cannot be used is no error: the next tier is taken, and :attr:`Canvases.why` says why.

    Args:
        source: a :class:`clsfit.contracts.Dataset`. One with ``stamp(rows)``, a text that changes
            whenever a picture does, can be found in the cache by later runs.
        table_rows: [M] int64, rows of its table; canvases are asked for by these rows.
        prepare: how a canvas is made.
        cache: ``memory``, ``disk``, ``off`` (decode again each time), or ``auto``: memory where the
            canvases take at most a quarter of what is available, else disk where they fit, else off.
        workers: threads; 0 is the caller's.
        skip_bad: whether the result is used although pictures are bad; only then is it kept in the
            cache with bad ones in it.
        progress: told how many more pictures are done.
        cache_dir: None is :func:`clsfit.data.cache.directory`.
        decoders: who decodes bytes for the threads; None: they themselves. Closed here where no canvas
            will be decoded later.

    Returns:
        The canvases, and row -> reason for each picture that cannot be read.

    Raises:
        ResourceError: a worker process has died, or they cannot be started.
        MemoryError: not even one picture at a time can be decoded.
    """
    rows = np.asarray(table_rows, dtype=np.int64)
    folder = (cache_dir or files.directory()) / "canvases"
    decoders = decoders or Decoders()
    job = _Build(source, rows, prepare, workers, skip_bad, progress, folder, _key(source, rows, prepare), decoders)
    expected = estimate(source, rows, prepare) if cache != "off" else Estimate(0, False)
    reasons: list[str] = []
    for tier in order(cache, expected.total, folder, reasons):
        try:
            if tier == "disk":
                made, bad = job.on_disk(expected.total)
            elif tier == "memory":
                made, bad = job.in_memory(expected, None if cache == "memory" else files.available_memory() // 2)
            else:
                made, bad = job.streamed()
        except (NoRoom, OSError, MemoryError) as error:
            if tier == "stream":
                raise
            reason = reason_of(error) if isinstance(error, OSError) else str(error) or "out of memory"
            reasons.append(f"{tier} failed: {reason}")
            continue
        made.why, made.decoded_by = "; ".join([*reasons, made.why]), decoders.description
        if tier != "stream":
            decoders.close()
        return made, bad
    raise AssertionError("the last tier is streaming")


def stream(source: Any, prepare: Prepare) -> Canvases:
    """Canvases of all of a source's pictures, decoded when asked for and never checked before."""
    number = len(source.table().paths)
    store = StreamStore(source, Decoders().start(source, prepare), None)
    return Canvases(store, np.ones((number, 2), dtype=np.int64), "stream", "decoded when needed")


class _Build:
    """One decoding pass over the rows, into one of the stores."""

    def __init__(
        self,
        source: Any,
        rows: npt.NDArray[np.int64],
        prepare: Prepare,
        workers: int,
        skip_bad: bool,
        progress: Progress | None,
        folder: Path,
        key: str | None,
        decoders: Decoders,
    ) -> None:
        self.source, self.rows, self.prepare = source, rows, prepare
        self.workers, self.skip_bad, self.progress = workers, skip_bad, progress
        self.folder, self.key, self.decoders = folder, key, decoders
        self.total = int(rows.max()) + 1 if len(rows) else 0

    def in_memory(self, expected: Estimate, limit: int | None) -> tuple[Canvases, dict[int, str]]:
        decode = self._decoder()
        writer = MemoryWriter(self.total, expected.uniform, limit)
        sizes, bad, _ = self._decode(decode, writer.add)
        store = writer.store()
        return Canvases(store, sizes, "memory", f"canvases take {shown(writer.taken)}"), bad

    def on_disk(self, expected: int) -> tuple[Canvases, dict[int, str]]:
        path = self.folder / f"{self.key}.canvases" if self.key else None
        found = files.load(path, self.key) if path is not None and self.key is not None else None
        if found is not None and len(found.sizes) == self.total:
            self._all_done()
            return self._mapped(found, "made by an earlier run")
        decode = self._decoder()  # before the file is open: forked workers would keep it so
        files.make_room(self.folder, expected)
        with MappedWriter(self.folder, self.total) as writer:
            sizes, bad, lost = self._decode(decode, writer.add)
            if bad and (lost or not self.skip_bad):
                path = None  # what is wrong will be repaired, or may be gone next time
            found = writer.finish(path, self.key or "", sizes, bad)
        if path is not None:
            files.make_room(self.folder, 0, keep=path)
        return self._mapped(found, f"written to {path}" if path is not None else "in a temporary file")

    def streamed(self) -> tuple[Canvases, dict[int, str]]:
        decode = self._decoder()
        path = self.folder / f"{self.key}.checked.canvases" if self.key else None
        found = files.load(path, self.key) if path is not None and self.key is not None else None
        if found is not None and len(found.sizes) == self.total:
            self._all_done()
            sizes, bad, why = found.sizes, found.bad, "decoded when needed; checked by an earlier run"
        else:
            sizes, bad, lost = self._decode(decode, lambda batch: None)
            why = "decoded when needed"
            if path is not None and not (bad and (lost or not self.skip_bad)):
                self._remember(path, sizes, bad)
        return Canvases(StreamStore(self.source, decode, sizes), sizes, "stream", why), bad

    def _mapped(self, found: files.CacheFile, why: str) -> tuple[Canvases, dict[int, str]]:
        store = MappedStore(found.data, found.sizes, found.offsets, self.prepare.channels)
        return Canvases(store, found.sizes, "disk", why), found.bad

    def _remember(self, path: Path, sizes: npt.NDArray[np.int64], bad: dict[int, str]) -> None:
        """Notes a passed check; where that cannot be written, the next run checks again."""
        try:
            with MappedWriter(self.folder, self.total) as writer:
                writer.finish(path, self.key or "", sizes, bad)
        except OSError:
            return

    def _decoder(self) -> Decode:
        try:
            return self.decoders.start(self.source, self.prepare, self.rows)
        except MemoryError as error:  # no reason to try another tier
            raise ResourceError("out of memory while the workers started", "", "use fewer --workers") from error

    def _decode(self, decode: Decode, add: Any) -> tuple[npt.NDArray[np.int64], dict[int, str], bool]:
        """Sizes, the bad rows, and whether one could not even be read as a file."""
        sizes = np.ones((self.total, 2), dtype=np.int64)
        bad: dict[int, str] = {}
        lost = threading.Event()

        def piece(start: int, stop: int) -> None:
            batch: list[tuple[int, Canvas]] = []
            held = 0
            for row in self.rows[start:stop].tolist():
                try:
                    canvas = decode(row)
                except (PictureError, OSError) as error:
                    bad[row] = fault_of(error)
                    if isinstance(error, OSError):
                        lost.set()
                    continue
                sizes[row] = canvas.shape[:2]
                batch.append((row, canvas))
                held += canvas.nbytes
                if held > _FLUSH:
                    add(batch)
                    batch, held = [], 0
            if batch:
                add(batch)

        over_rows(piece, len(self.rows), chunk=_CHUNK, workers=self.workers, progress=self.progress)
        return sizes, dict(sorted(bad.items())), lost.is_set()

    def _all_done(self) -> None:
        if self.progress is not None:
            self.progress(len(self.rows))


def _key(source: Any, rows: npt.NDArray[np.int64], prepare: Prepare) -> str | None:
    """What a cache file is found by, or None for a source whose changes cannot be told.

    The stamp is looked up on the class: a wrapper that hands every other attribute on would otherwise
    stamp rows that are not its own.
    """
    stamp = getattr(type(source), "stamp", None)
    if stamp is None:
        return None
    made = {"prepare": prepare.to_json(), "decode": made_by()}
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode())
    digest.update(rows.astype("<i8").tobytes() + str(stamp(source, rows)).encode())
    return digest.hexdigest()
