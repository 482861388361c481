"""The model file: plain safetensors, sealed by one hash over every byte, header included.

Its metadata has exactly two keys: ``clsfit``, one JSON text, and ``sha256``, 64 hex digits over the whole
file with those digits as zeros. Any safetensors reader loads it; only this one checks it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsfit.errors import CheckpointError, ResourceError, printable
from clsfit.storage import durable
from clsfit.storage.jsontext import to_json

BEST, LAST, RAW = "best.safetensors", "last.safetensors", "last.raw.safetensors"
_MARK = b'"sha256":"'
_ZEROS = b"0" * 64
_DIGEST = re.compile(rb'[0-9a-f]{64}"')
_LARGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_MOST_PARTS = 1_000_000  # objects and lists, of which each takes much more memory than its two bytes
_BITS = {"BOOL": 8} | {f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64}
_BITS |= dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8)


@dataclass(frozen=True)
class ModelFile:
    """A model file that is as it was written.

    Attributes:
        header: all that applying the weights needs beside them.
        blob: the file itself, for any safetensors reader.
    """

    header: dict[str, Any]
    blob: bytes


def seal(blob: bytes, header: Mapping[str, Any]) -> bytes:
    """The model file of some weights.

    Args:
        blob: tensors in safetensors' format; metadata in it is dropped.
        header: JSON values; NaN and infinities become null.

    Returns:
        The same bytes for the same tensors and header.

    Raises:
        ValueError: ``blob`` is no safetensors file, or the new header passes safetensors' limit.
    """
    return b"".join(_sealed(blob, header))


def write(path: Path, blob: bytes, header: Mapping[str, Any]) -> None:
    """Writes a model file durably; arguments as for :func:`seal`.

    Raises:
        ResourceError: it could not be written; the old file is unchanged.
    """
    durable.write_file(path, _sealed(blob, header), failpoint="model")


def read(path: str | Path) -> ModelFile:
    """Reads a model file and checks every byte of it.

    Raises:
        CheckpointError: it is missing, no model file, or not as it was written.
        ResourceError: the system does not let us read it.
    """
    path = Path(path)
    try:
        raw = durable.read_file(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        kind = ResourceError if isinstance(error, PermissionError) else CheckpointError
        raise kind(f"the model file cannot be read: {reason}", printable(str(path))) from error
    try:
        return ModelFile(_checked(raw), raw)
    except ValueError as damage:
        raise CheckpointError(
            f"this is no intact model file: {damage}",
            printable(str(path)),
            "copy or train it again; the run's other model file may be intact",
        ) from None


def resolve(path: str | Path) -> Path:
    """The model file that is meant: of a run directory the best one, else the last; a file is itself.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if not os.path.isdir(path):  # unlike Path's, it takes a name that no disk can hold
        if not os.path.exists(path):
            raise _missing(path)
        return path
    for name in (BEST, LAST):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        "there is no model file in this folder",
        printable(str(path)),
        f"name a run that has a {BEST} or {LAST}, or a model file",
    )


def _sealed(blob: bytes, header: Mapping[str, Any]) -> list[bytes | memoryview]:
    """A model file in two parts: its header, and the tensors' bytes, which are not copied."""
    tensors, data = _parse(blob)
    metadata = {"clsfit": to_json(header, sort_keys=True), "sha256": _ZEROS.decode()}
    entries = sorted(tensors.items(), key=lambda entry: (entry[1]["data_offsets"], entry[0]))
    text = to_json({"__metadata__": metadata} | dict(entries)).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LARGEST_HEADER:
        raise ValueError(f"the header would have {len(text):,} bytes, more than {_LARGEST_HEADER:,}")
    head = len(text).to_bytes(8, "little") + text
    at = head.index(_MARK) + len(_MARK)
    digest = hashlib.sha256(head)
    digest.update(data)
    return [head[:at] + digest.hexdigest().encode() + head[at + 64 :], data]


def _parse(blob: bytes) -> tuple[dict[str, Any], memoryview]:
    """The tensors' entries in a safetensors header, without metadata, and the bytes behind it."""
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or length > len(blob) - 8:
        raise ValueError("no safetensors file")
    tensors = json.loads(blob[8 : 8 + length])
    tensors.pop("__metadata__", None)
    return tensors, memoryview(blob)[8 + length :]


def _checked(raw: bytes) -> dict[str, Any]:
    """The header of an intact model file; ValueError says what is wrong with any other."""
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > len(raw) - 8:
        raise ValueError("it is cut off, or no safetensors file")
    if length > _LARGEST_HEADER:
        raise ValueError("its header is too large")
    head = raw[: 8 + length]
    if head.count(_MARK) != 1:
        raise ValueError("it has no hash" if _MARK not in head else "it has more than one hash")
    at = head.index(_MARK) + len(_MARK)
    if not _DIGEST.match(head, at):
        raise ValueError("its hash is malformed")
    digest = hashlib.sha256(head[:at] + _ZEROS)
    digest.update(memoryview(raw)[at + 64 :])
    if digest.hexdigest().encode() != head[at : at + 64]:
        raise ValueError("its content does not match its hash")
    if head.count(b"[") + head.count(b"{") > _MOST_PARTS:
        raise ValueError("its header has too many parts")
    try:
        tensors = json.loads(head[8:])
        metadata = tensors.pop("__metadata__")
        if set(metadata) != {"clsfit", "sha256"}:
            raise ValueError
        header = json.loads(metadata["clsfit"])
        if not isinstance(header, dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("its header was not written by clsfit") from None
    _check_tensors(tensors, len(raw) - 8 - length)
    return header


def _check_tensors(tensors: Mapping[str, Any], size: int) -> None:
    """Whether the tensors fill the ``size`` bytes behind the header: one after the other, no gap, none twice."""
    end = 0
    try:
        for entry in sorted(tensors.values(), key=lambda entry: entry["data_offsets"]):
            (begin, until), shape, bits = entry["data_offsets"], entry["shape"], _BITS[entry["dtype"]]
            if len(entry) != 3 or any(type(number) is not int or number < 0 for number in (begin, until, *shape)):
                raise ValueError
            if begin != end or (until - begin) * 8 != math.prod(shape) * bits:
                raise ValueError
            end = until
        if end != size:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("what its header says of its tensors is not what is there") from None


def _missing(path: Path) -> CheckpointError:
    return CheckpointError("there is no such model file or run", printable(str(path)), "check its name")
