"""Disks that fail, and disks that lose what was never synced."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Tree = frozenset[tuple[str, bytes | None]]
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "fchmod", "chmod", "unlink", "rmdir")


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
                if name == "write":  # a full disk takes what fits
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
    """Follows all changes below ``root`` and says, after each, what a power cut may leave of it.

    A cut keeps of a directory its entries as of the last fsync or of any time since; of a file its bytes
    as of the last fsync, all later ones, or zeros in their place.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.top = str(root), Node(True)
        self.handles: dict[int, tuple[str, Node]] = {}
        self.states: set[tuple[int, Tree]] = set()
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
        """Notes the states that a cut at this instant may leave."""
        pick = self.chance.choice
        for entries, data in (
            (lambda n: n.kept[0], lambda n: n.synced),
            (lambda n: n.kept[-1], lambda n: n.synced),
            (lambda n: n.kept[-1], lambda n: n.synced + bytes(len(n.data) - len(n.synced))),
            (lambda n: n.kept[-1], lambda n: n.data),
            *((lambda n: pick(n.kept), lambda n: pick((n.synced, n.data))),) * 6,
        ):
            self.states.add((self.acknowledged, frozenset(self._tree(self.top, "", entries, data))))

    def _tree(self, node: Node, path: str, entries: Any, data: Any) -> Iterator[tuple[str, bytes | None]]:
        for name, child in entries(node).items():
            yield f"{path}{name}", None if child.folder else data(child)
            if child.folder:
                yield from self._tree(child, f"{path}{name}/", entries, data)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = {name: getattr(os, name) for name in (*CALLS, "close", "ftruncate")}
        for name in (*CALLS, "close", "ftruncate"):
            if hasattr(self, f"on_{name}"):
                monkeypatch.setattr(os, name, self._wrapped(real[name], getattr(self, f"on_{name}")))

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
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    root = tmp_path / "disk"
    root.mkdir()
    made = Disk(root)
    made.patch(monkeypatch)
    return made


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[[Tree], Path]:
    """Makes real files of a tree, in a folder that is emptied before."""

    def make(tree: Tree) -> Path:
        shutil.rmtree(tmp_path / "after", ignore_errors=True)
        (tmp_path / "after").mkdir()
        for name, data in sorted(tree):
            if data is None:
                (tmp_path / "after" / name).mkdir()
            else:
                (tmp_path / "after" / name).write_bytes(data)
        return tmp_path / "after"

    return make


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in a process of its own; further arguments are its ``sys.argv[1:]``."""

    def run(script: str, *args: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, args)],
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
