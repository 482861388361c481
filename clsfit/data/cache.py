"""Files of the cache directory: arrays of bytes that can be made again at any time.

A cache file is complete or absent: it is written under a temporary name, brought to the disk, then
renamed; a new one never overwrites an old one's pages, so that whoever has it mapped keeps reading.

Layout of canvases: the canvases' bytes in any order; heights and widths [N, 2] int64; offsets [N] int64, -1 where
there is no canvas; a JSON object; sha256 over those three; length of the JSON, 8 bytes; :data:`_MAGIC`.
All numbers are little-endian. What :func:`keep` writes: the bytes; sha256 over them; :data:`_KEPT`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

LIMIT_BYTES = 20 << 30
"""What the cache directory may hold; the files not used for longest go first."""

_MAGIC = b"clsfit canvases1"
_TAIL = 32 + 8 + len(_MAGIC)
_KEPT = b"clsfit kept\0\0\0\0\1"
_SUFFIXES = (".canvases", ".headers", ".survey")
_TEMPORARY = ".building-"
_ABANDONED_SECONDS = 24 * 3600.0


def directory() -> Path:
    """``CLSFIT_CACHE``, else ``clsfit`` in the user's cache directory."""
    if chosen := os.environ.get("CLSFIT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "clsfit"


def available_memory() -> int:
    """Bytes that can be allocated now: of the machine, or of the container that is smaller."""
    found = _by_pages()
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found = [int(line.split()[1]) * 1024]
    with contextlib.suppress(OSError, ValueError):
        found.append(_of_container(Path("/sys/fs/cgroup")))
    return max(min(found, default=0), 0)


def _by_pages() -> list[int]:
    """What the system's pages say: those that are free, or half of all where it does not tell that, as macOS."""
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            return [os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // share]
    return []


def _of_container(group: Path) -> int:
    """What a control group leaves; files that were read lately count as taken there, and are given up when asked."""
    left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            left += int(value) if name == "inactive_file" else 0
    return left


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder in the cache directory, for what shall be gone afterwards, with the folders made for it.

    Raises:
        OSError: there can be none.
    """
    base = directory()
    made = [place for place in (base, *base.parents) if not place.exists()]
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=base, ignore_cleanup_errors=True) as name:
            yield Path(name)
    finally:
        for place in made:
            with contextlib.suppress(OSError):  # somebody else has put something there
                place.rmdir()


@dataclass(frozen=True, eq=False)
class CacheFile:
    """An open cache file.

    Attributes:
        data: [bytes] uint8, mapped copy-on-write: changes stay in this process.
        sizes: [N, 2] int64, height and width.
        offsets: [N] int64, where in ``data`` a canvas begins, -1 where there is none.
        bad: row -> reason.
    """

    data: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    bad: dict[int, str]


def load(path: Path, key: str) -> CacheFile | None:
    """The file at ``path`` if it is whole and was made for ``key``, else None."""
    try:
        with path.open("rb") as file:
            mapped = np.memmap(file, dtype=np.uint8, mode="c").view(np.ndarray)
        found = _parse(mapped, key)
        if found is not None:
            os.utime(path)  # its age is the time since its last use
        return found
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return None


def _parse(mapped: npt.NDArray[np.uint8], key: str) -> CacheFile | None:
    tail = mapped[-_TAIL:].tobytes()
    if len(tail) < _TAIL or tail[40:] != _MAGIC:
        return None
    length, end = int.from_bytes(tail[32:40], "little"), len(mapped) - _TAIL
    if length > end:
        return None
    text = mapped[end - length : end].tobytes()
    about = json.loads(text)  # a ValueError is the caller's None
    rows, data = (about.get(name) if isinstance(about, dict) else None for name in ("rows", "data"))
    if not isinstance(rows, int) or not isinstance(data, int) or about.get("key") != key or min(rows, data) < 0:
        return None
    if data + 24 * rows + length != end or hashlib.sha256(mapped[data:end].tobytes()).digest() != tail[:32]:
        return None
    index = np.frombuffer(mapped[data : data + 24 * rows].tobytes(), dtype="<i8").astype(np.int64)
    bad = dict(sorted((int(row), str(reason)) for row, reason in about["bad"].items()))
    return CacheFile(mapped[:data], index[: 2 * rows].reshape(rows, 2), index[2 * rows :], bad)


class Writer:
    """A cache file in the making; several threads may add to it.

    Raises:
        OSError: the directory cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        self._handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
        self._path = Path(name)
        self._end, self._lock = 0, threading.Lock()

    def add(self, data: bytes | memoryview) -> int:
        """Writes ``data``; returns its offset.

        Raises:
            OSError: the disk is full or fails.
        """
        with self._lock:
            offset, self._end = self._end, self._end + len(data)
        self._write(data, offset)
        return offset

    def finish(
        self,
        path: Path | None,
        key: str,
        sizes: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        bad: Mapping[int, str],
    ) -> CacheFile:
        """Writes the index, and puts the file in its place; without ``path`` it has none and ends with this process.

        Raises:
            OSError: the disk is full or fails.
        """
        about = {"key": key, "rows": len(sizes), "data": self._end, "bad": dict(bad)}
        text = json.dumps(about).encode()
        index = sizes.astype("<i8").tobytes() + offsets.astype("<i8").tobytes() + text
        tail = hashlib.sha256(index).digest() + len(text).to_bytes(8, "little") + _MAGIC
        self._write(index + tail, self._end)
        if path is not None:
            os.fsync(self._handle)  # else a power cut could leave a whole file of zeros under its name
        found = load(self._path, key)
        if found is None:
            raise OSError("the cache file reads back otherwise than it was written")
        if path is not None:
            self._path.replace(path)
        self.close()
        return found

    def place(self, path: Path) -> None:
        """Puts what was added in its place, as it is.

        Raises:
            OSError: the disk is full or fails.
        """
        os.fsync(self._handle)
        self._path.replace(path)

    def close(self) -> None:
        """Ends the writing; what has no name yet is gone."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, offset)
            view, offset = view[written:], offset + written


def keep(path: Path, data: bytes) -> None:
    """Writes a file of ``data``, whole or not at all; others make room for it.

    Raises:
        OSError: the directory cannot be made or written to.
    """
    writer = Writer(path.parent)
    try:
        make_room(path.parent, len(data), keep=path)
        writer.add(data + hashlib.sha256(data).digest() + _KEPT)
        writer.place(path)
    finally:
        writer.close()


def kept(path: Path) -> bytes | None:
    """What :func:`keep` wrote, if every byte of it is there."""
    try:
        found = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    end = len(found) - 32 - len(_KEPT)
    if end < 0 or found[end + 32 :] != _KEPT or hashlib.sha256(found[:end]).digest() != found[end : end + 32]:
        return None
    return found[:end]


def make_room(folder: Path, needed: int, limit: int = LIMIT_BYTES, keep: Path | None = None) -> None:
    """Deletes files not used for longest until ``needed`` more bytes stay within ``limit``.

    Args:
        folder: of cache files.
        needed: bytes to come.
        limit: bytes for all of them.
        keep: a file to spare.
    """
    with contextlib.suppress(OSError):
        states = sorted((path.stat().st_mtime_ns, path) for path in folder.iterdir() if path.suffix in _SUFFIXES)
        total = needed + sum(path.stat().st_size for _, path in states)
        for _, path in states:
            if total <= limit:
                return
            if path != keep:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes what a killed process has left half-made."""
    with contextlib.suppress(OSError):
        for path in folder.glob(_TEMPORARY + "*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
