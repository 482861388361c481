"""What a checkpoint's directory must hold: ``manifest.json``, with the size and hash of each file.

``{"files": {NAME: {"sha256": 64 hex digits, "size": bytes}}, "format": 1, "step": N}``
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsfit.storage import durable
from clsfit.storage.jsontext import to_json

NAME = "manifest.json"
_FORMAT = 1
_LARGEST = 1 << 24  # bytes
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedError(Exception):
    """Why a checkpoint cannot be trusted, in a few words."""


def may_list(name: str) -> bool:
    """Whether a checkpoint may have a file of this name; none can lead out of its directory."""
    return bool(_FILE.fullmatch(name)) and name != NAME


def of(step: int, files: Mapping[str, bytes]) -> bytes:
    """The manifest of some files."""
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    return _spelled({"files": listed, "format": _FORMAT, "step": step})


def verified(path: Path, step: int) -> dict[str, tuple[int, str]]:
    """Compares every byte of the checkpoint of ``step`` at ``path`` with its manifest.

    Returns:
        (size in bytes, sha256 hex) by file name.

    Raises:
        DamagedError: something is missing or not as it was written.
    """
    hashes = _read(path, step)
    for name, (size, digest) in hashes.items():
        try:
            with os.fdopen(durable.open_regular(path / name), "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    raise DamagedError(f"{name} has {found:,} bytes instead of {size:,}")
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise DamagedError(f"{name} does not match its hash")
        except OSError as error:
            raise DamagedError(f"{name}: {(error.strerror or 'cannot be read').lower()}") from error
    return hashes


def _read(path: Path, step: int) -> dict[str, tuple[int, str]]:
    """The manifest, every value of it checked: nothing else vouches for the manifest itself."""
    try:
        with os.fdopen(durable.open_regular(path / NAME), "rb") as file:
            raw = file.read(_LARGEST)
        files = json.loads(raw)["files"]
        if not files or _spelled({"files": files, "format": _FORMAT, "step": step}) != raw:
            raise ValueError
        hashes = {name: (entry["size"], entry["sha256"]) for name, entry in files.items()}
        for name, (size, digest) in hashes.items():
            plain = may_list(name) and type(size) is int and len(files[name]) == 2
            if not plain or not _DIGEST.fullmatch(digest):
                raise ValueError
    except OSError as error:
        raise DamagedError(f"{NAME}: {(error.strerror or 'cannot be read').lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{NAME} is damaged") from error
    return hashes


def _spelled(manifest: Any) -> bytes:
    """The only spelling of a manifest, so that not even a space can change unnoticed."""
    return (to_json(manifest, indent=1, sort_keys=True) + "\n").encode()
