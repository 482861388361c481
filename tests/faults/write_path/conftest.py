"""Disks that fail, and disks that lose what was never synced."""

from __future__ import annotations

import errno
import itertools
import os
import random
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Tree = frozenset[tuple[str, bytes | None]]
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "fchmod", "chmod", "unlink", "rmdir", "ftruncate")
SHORT = 24  # bytes that the disk takes at most in one write


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Random names become a sequence, so that equal states are equal; called, it begins anew."""

    def begin() -> None:
        numbers = itertools.count()
        monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")

    begin()
    return begin


@dataclass
class Faults:
    """Makes the k-th system call fail: that one only, or it and all that follow."""

    real: dict[str, Callable[..., Any]]
    count: int = 0
    at: int = 0
    ever_after: bool = False
    code: int = errno.ENOSPC

    def arm(self, at: int, code: int, ever_after: bool) -> None:
        self.count, self.at, self.code, self.ever_after = 0, at, code, ever_after

    def disarm(self) -> bool:
        """Whether the fault has happened."""
        happened = 0 < self.at <= self.count
        self.at = 0
        return happened

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.at:
            self.count += 1
            if self.count == self.at or (self.ever_after and self.count > self.at):
                if name == "write" and self.code == errno.ENOSPC:  # a full disk takes what fits
                    self.real["write"](args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(self.code, os.strerror(self.code))
        return self.real[name](*args, **kwargs)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    made = Faults({name: getattr(os, name) for name in CALLS})
    for name in CALLS:
        monkeypatch.setattr(os, name, lambda *args, _name=name, **kwargs: made.call(_name, *args, **kwargs))
    return made


@dataclass(eq=False)
class Node:
    """A file or a directory: as it is, as it was at its last fsync, and what happened to it since."""

    folder: bool
    data: bytes = b""
    entries: dict[str, Node] = field(default_factory=dict)
    synced: bytes = b""
    kept: list[dict[str, Node]] = field(default_factory=lambda: [{}])


class Disk:
    """Follows all changes below ``root`` and says, after each, what a kill and what a power cut may leave of it.

    A kill leaves all that was done. A cut keeps of a
    directory its entries as of the last fsync or of any time since; of a file its bytes
    as of the last fsync, all later ones, or zeros in their place. Every write is short.

    Attributes:
        acknowledged: how much the test has been told to be safe; noted with every state.
        killed, cut: the different states so far, by what can leave them.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.top = str(root), Node(True)
        self.handles: dict[int, tuple[str, Node]] = {}
        self.killed: set[tuple[int, Tree]] = set()
        self.cut: set[tuple[int, Tree]] = set()
        self.acknowledged = 0
        self.chance = random.Random(0)

    def node(self, path: str) -> Node:
        node = self.top
        for part in Path(path).relative_to(self.root).parts:
            node = node.entries[part]
        return node

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        if isinstance(path, int) or (dir_fd is not None and dir_fd not in self.handles):
            return None
        base = self.handles[dir_fd][0] if dir_fd in self.handles else "."
        full = os.path.normpath(os.path.join(base, os.fspath(path)))
        return full if full.startswith(self.root) else None

    def change(self, path: str, node: Node | None) -> Node | None:
        """Puts ``node`` at ``path``, or takes away what is there; returns that."""
        parent = self.node(os.path.dirname(path))
        old = parent.entries.pop(os.path.basename(path), None)
        if node is not None:
            parent.entries[os.path.basename(path)] = node
        return old

    def changed(self, *paths: str) -> None:
        for folder in {os.path.dirname(path): None for path in paths}:
            node = self.node(folder)
            node.kept.append(dict(node.entries))
        self.snap()

    def snap(self) -> None:
        """Notes the states that an end at this instant may leave."""
        pick = self.chance.choice
        self.killed.add((self.acknowledged, self.tree(lambda n: n.kept[-1], lambda n: n.data)))
        for entries, data in (
            (lambda n: n.kept[0], lambda n: n.synced),
            (lambda n: n.kept[-1], lambda n: n.synced),
            (lambda n: n.kept[-1], lambda n: n.synced + bytes(len(n.data) - len(n.synced))),
            *((lambda n: pick(n.kept), lambda n: pick((n.synced, n.data))),) * 24,
        ):
            self.cut.add((self.acknowledged, self.tree(entries, data)))

    def tree(self, entries: Any, data: Any) -> Tree:
        """The files and folders, by functions that choose a folder's entries and a file's bytes."""
        return frozenset(self._walk(self.top, "", entries, data))

    def _walk(self, node: Node, path: str, entries: Any, data: Any) -> Iterator[tuple[str, bytes | None]]:
        for name, child in entries(node).items():
            yield f"{path}{name}", None if child.folder else data(child)
            if child.folder:
                yield from self._walk(child, f"{path}{name}/", entries, data)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Follows the system calls from now on."""
        plain = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: plain(handle, data[:SHORT]))
        for name in (*CALLS, "close"):
            if hasattr(self, f"on_{name}"):
                monkeypatch.setattr(os, name, self._wrapped(getattr(os, name), getattr(self, f"on_{name}")))

    def decayed(self, path: Path) -> None:
        """Takes the content of ``path``, which nobody wrote, for what the disk has made of it."""
        node = self.node(str(path))
        node.data = node.synced = path.read_bytes()

    def _wrapped(self, real: Callable[..., Any], follow: Callable[..., None]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            follow(result, *args, **kwargs)
            return result

        return call

    def on_open(self, handle: int, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        full = self.inside(path, dir_fd)
        self.handles.pop(handle, None)  # a number used again: not every close goes through os.close
        if full is None:
            return
        name, parent = os.path.basename(full), self.node(os.path.dirname(full)) if full != self.root else None
        if parent is not None and flags & os.O_CREAT and name not in parent.entries:
            self.change(full, Node(False))
            self.changed(full)
        self.handles[handle] = full, self.node(full)

    def on_close(self, _: None, handle: int) -> None:
        self.handles.pop(handle, None)

    def on_write(self, written: int, handle: int, data: Any) -> None:
        if handle in self.handles:
            self.handles[handle][1].data += bytes(data[:written])
            self.snap()

    def on_ftruncate(self, _: None, handle: int, length: int) -> None:
        if handle in self.handles:
            node = self.handles[handle][1]
            node.data, node.synced = node.data[:length], node.synced[:length]
            self.snap()

    def on_fsync(self, _: None, handle: int) -> None:
        if handle in self.handles:
            node = self.handles[handle][1]
            node.synced, node.kept = node.data, [dict(node.entries)]
            self.snap()

    def on_mkdir(self, _: None, path: Any, mode: int = 0o777) -> None:
        if full := self.inside(path):
            self.change(full, Node(True))
            self.changed(full)

    def on_rename(self, _: None, old: Any, new: Any) -> None:
        if full := self.inside(old):
            target = self.inside(new)
            assert target is not None
            self.change(target, self.change(full, None))
            self.changed(full, target)

    on_replace = on_rename

    def on_unlink(self, _: None, path: Any, *, dir_fd: int | None = None) -> None:
        if full := self.inside(path, dir_fd):
            self.change(full, None)
            self.changed(full)

    on_rmdir = on_unlink


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where there is such a thing: thousands of states are laid out, and files are slow."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def disk(tmp_path: Path, no_chance: Callable[[], None]) -> Disk:
    """An empty disk at ``tmp_path / "disk"``; it follows nothing until ``patch``."""
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk")


@pytest.fixture
def lay_out(place: Path) -> Callable[[Tree], Path]:
    """``lay_out(tree)`` makes these files and folders, in a place of their own."""
    numbers = itertools.count()

    def make(tree: Tree) -> Path:
        after = place / f"after-{next(numbers)}"
        after.mkdir()
        for name, data in sorted(tree):
            if data is None:
                (after / name).mkdir()
            else:
                (after / name).write_bytes(data)
        return after

    return make


@pytest.fixture
def tree_of() -> Callable[[Path], Tree]:
    """The inverse of ``lay_out``."""

    def read(place: Path) -> Tree:
        return frozenset(
            (str(path.relative_to(place)), None if path.is_dir() else path.read_bytes()) for path in place.rglob("*")
        )

    return read
