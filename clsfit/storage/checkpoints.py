"""Checkpoints: directories of files with a manifest of hashes, there whole or not at all.

``step-00001234/`` is first written as ``.tmp-…/``: its files, then ``manifest.json``, each fsynced, then
the directory, then it is renamed and the parent is fsynced. So whatever stands under a step's name is
complete; the hashes find what the disk did to it later. ``latest`` beside them names the newest for
people and scripts; it is a hint, and nothing here reads it.

All writing functions expect that the caller is the only writer (:meth:`.rundir.RunDirectory.lock`).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clsfit.errors import CheckpointError, printable
from clsfit.storage import durable, manifest
from clsfit.storage.manifest import DamagedError

LATEST = "latest"
_STEP = re.compile(r"step-([0-9]{8,18})|\.old-([0-9]{8,18})-[0-9a-f]{8}")
_ASIDE = re.compile(r"damaged-.+-[0-9a-f]{8}")
_LEFT_BEHIND = re.compile(r"\.tmp-([0-9]{8,18}-[0-9a-f]{8}|[0-9a-f]{16})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were all as their hashes say when it was found.

    Attributes:
        step: finished optimizer steps.
        path: its directory.
        hashes: (size in bytes, sha256 hex) by file name.
    """

    step: int
    path: Path
    hashes: Mapping[str, tuple[int, str]]

    def read(self, name: str) -> bytes:
        """The content of a file, checked once more against its hash.

        Raises:
            KeyError: the checkpoint has no such file.
            CheckpointError: it was damaged in the meantime.
        """
        size, digest = self.hashes[name]
        try:
            data = durable.read_file(self.path / name)
        except OSError as error:
            raise _unreadable(self.path / name, (error.strerror or "cannot be read").lower()) from error
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise _unreadable(self.path / name, "its content does not match its hash")
        return data

    def content(self) -> dict[str, bytes]:
        """The content of every file; errors as for :meth:`read`."""
        return {name: self.read(name) for name in self.hashes}


def save(directory: Path, step: int, files: Mapping[str, bytes]) -> Path:
    """Saves a checkpoint durably, in place of one of the same step.

    Args:
        directory: of all checkpoints; made if missing.
        step: finished optimizer steps, at least 0.
        files: content by plain file name.

    Returns:
        The checkpoint's directory.

    Raises:
        ResourceError: it could not be saved; every earlier checkpoint is as it was.
    """
    if step < 0 or not files or not all(map(manifest.may_list, files)):
        raise ValueError(f"no checkpoint can be made of step {step} and files {sorted(files)}")
    target = directory / _name(step)
    with durable.resource_errors(target, sum(map(len, files.values()))):
        durable.make_directory(directory)
        durable.failpoint("checkpoint:open")
        temporary = directory / f"{durable.TEMPORARY}{step:08d}-{secrets.token_hex(4)}"
        temporary.mkdir(mode=0o700)
        replaced = directory / f".old-{step:08d}-{secrets.token_hex(4)}"
        try:
            _fill(temporary, step, files)
            _move_aside(target, replaced)
            durable.failpoint("checkpoint:rename")
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            with suppress(OSError):  # there is nothing to give back, as a rule
                replaced.rename(target)
            raise
        durable.failpoint("checkpoint:sync-parent")
        durable.sync_directory(directory)
    if os.path.lexists(replaced):
        _delete(replaced)
    durable.write_file(directory / LATEST, f"{target.name}\n".encode(), failpoint="latest")
    return target


def newest_verified(directory: Path) -> tuple[Checkpoint | None, list[tuple[Path, str]]]:
    """The newest checkpoint that is as it was saved.

    Returns:
        It, or None where there are no checkpoints at all; and (path, reason) of each newer one that
        had to be skipped.

    Raises:
        CheckpointError: there are checkpoints, and none can be trusted.
    """
    skipped: list[tuple[Path, str]] = []
    for step, path in _found(directory):
        try:
            return Checkpoint(step, path, manifest.verified(path, step)), skipped
        except DamagedError as damage:
            skipped.append((path, str(damage)))
    if skipped:
        reasons = "; ".join(f"{printable(path.name)}: {reason}" for path, reason in skipped[:5])
        raise CheckpointError(
            f"none of {len(skipped)} checkpoints in {printable(str(directory))} can be read",
            reasons,
            "restore one from a backup, or start anew with --overwrite",
        )
    return None, skipped


def set_aside(paths: Iterable[Path]) -> None:
    """Takes the names of damaged checkpoints away, durably, and keeps their content, to be looked at.

    Were they left under their names, one that can be read again later (a disk or a connection that came
    back) would be newer than what has been cut back and saved meanwhile.

    Raises:
        ResourceError: one could not be renamed.
    """
    for path in paths:
        with durable.resource_errors(path, doing="renamed"):
            durable.failpoint("checkpoint:set-aside")
            path.rename(path.parent / f"damaged-{path.name.lstrip('.')}-{secrets.token_hex(4)}")
            durable.sync_directory(path.parent)


def exist(directory: Path) -> bool:
    """Whether there is any checkpoint, damaged ones included."""
    return bool(_found(directory))


def prune(directory: Path, keep: int = 2, never: Collection[int] = ()) -> list[Path]:
    """Deletes old checkpoints, once newer ones have been read back and found good.

    Args:
        keep: how many good ones are kept at least, newest first.
        never: steps that are kept in any case.

    Returns:
        What was deleted. Damaged ones that are newer than those kept stay, to be looked at.

    Raises:
        ResourceError: something could not be deleted.
    """
    good, deleted = 0, []
    for step, path in _found(directory):
        if good >= keep:
            if step not in never:
                _delete(path)
                deleted.append(path)
            continue
        with suppress(DamagedError):
            manifest.verified(path, step)
            good += 1
    return deleted


def sweep(directory: Path) -> None:
    """Puts in order what killed saves have left behind: a checkpoint that was to be replaced gets its
    name back if its successor is not there; everything else is deleted.

    Raises:
        ResourceError: something could not be deleted or renamed.
    """
    for entry in _entries(directory):
        match = _STEP.fullmatch(entry)
        if match and match[2]:
            target = directory / _name(int(match[2]))
            if not os.path.lexists(target):
                with durable.resource_errors(target):
                    (directory / entry).rename(target)
                continue
        if _LEFT_BEHIND.fullmatch(entry) or (match and match[2]):
            _delete(directory / entry)


def clear(directory: Path) -> None:
    """Deletes every checkpoint and the hint, nothing else; the directory too, if it is empty then.

    Raises:
        ResourceError: something could not be deleted.
    """
    for entry in _entries(directory):
        if entry == LATEST or any(kind.fullmatch(entry) for kind in (_STEP, _LEFT_BEHIND, _ASIDE)):
            _delete(directory / entry)
    with suppress(OSError):
        directory.rmdir()


def _fill(temporary: Path, step: int, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        durable.create_file(temporary / name, [data], write="checkpoint:write", fsync="checkpoint:fsync")
    durable.create_file(
        temporary / manifest.NAME,
        [manifest.of(step, files)],
        write="checkpoint:manifest",
        fsync="checkpoint:manifest-fsync",
    )
    durable.failpoint("checkpoint:sync-dir")
    temporary.chmod(0o777 & ~durable.umask())
    durable.sync_directory(temporary)


def _move_aside(target: Path, replaced: Path) -> None:
    """Frees the step's name; the checkpoint that had it counts, where it is now, until its successor is there."""
    if os.path.lexists(target):
        durable.failpoint("checkpoint:replace")
        target.rename(replaced)
        durable.failpoint("checkpoint:sync-replaced")
        durable.sync_directory(target.parent)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _entries(directory: Path) -> list[str]:
    """Names in the directory of all checkpoints; none if there is no such directory."""
    if not directory.is_dir():
        return []
    with durable.resource_errors(directory, doing="read"):
        return sorted(os.listdir(directory))


def _found(directory: Path) -> list[tuple[int, Path]]:
    """(step, path) of everything that claims to be a checkpoint, newest first, replaced ones behind."""
    found = []
    for entry in _entries(directory):
        if match := _STEP.fullmatch(entry):
            found.append((int(match[1] or match[2]), bool(match[1]), directory / entry))
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def _delete(path: Path) -> None:
    """Deletes what lies at ``path``; a directory first loses its name, so that no half of it counts."""
    with durable.resource_errors(path, doing="deleted"):
        durable.failpoint("checkpoint:remove")
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        if not path.name.startswith(durable.TEMPORARY):
            path = path.rename(path.parent / f"{durable.TEMPORARY}{secrets.token_hex(8)}")
        shutil.rmtree(path)


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint is damaged: {reason}", printable(str(path)), "resume again")
