"""Weights that others wrote: files of ``torch.save``, and downloads. The one module that reads pickled files.

It reads them by torch's restricted unpickler (``weights_only=True``) and by nothing else, so that no
file can run code. Only tensors come out.
"""

from __future__ import annotations

import os
import re
import urllib.parse
import warnings
import zipfile
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from clsfit import downloads
from clsfit.errors import CheckpointError, ResourceError, printable

KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "params",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema",
    "params_ema",
)
"""Under which of its keys a training checkpoint has the weights: the first that is there and holds tensors."""

PREFIXES = ("module.", "_orig_mod.")
"""What torch's wrappers (data parallel, compile) put before every name."""

_MOST_TIMES = 32
"""How many times its size a file's tensors may take: what several names share lies in it once."""

_ZIPPED = b"PK\x03\x04"
_CLASS = re.compile(r"(?:GLOBAL|[Uu]nsupported class) (\w+(?:\.\w+)+)")

Say = Callable[[str], None]


def read(path: str | Path, say: Say | None = None) -> dict[str, torch.Tensor]:
    """The weights in a safetensors file, or in a pickled one.

    Args:
        path: the file; what it is, its content says, not its name.
        say: gets a line for each thing that was done to find them.

    Raises:
        CheckpointError: as :func:`read_pickled`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise _unreadable(path, error) from None
    if head[8:] != b"{":  # a safetensors header is JSON behind eight bytes of length
        return read_pickled(path, say)
    try:
        return _without_prefixes(safetensors.torch.load_file(path), say)
    except safetensors.SafetensorError as error:
        raise _damaged(path, str(error)) from None


def read_pickled(path: str | Path, say: Say | None = None) -> dict[str, torch.Tensor]:
    """The weights in a file of ``torch.save``, on the CPU.

    In a training checkpoint they lie under one of :data:`KEYS`, or under its only key that holds
    tensors. Prefixes of :data:`PREFIXES` that all names have are taken off.

    Args:
        path: the file.
        say: gets a line for each thing that was done to find them.

    Raises:
        CheckpointError: there is no such file, it is damaged, holds anything but plain containers and
            tensors, or no or several sets of weights.
    """
    path = Path(path)
    try:
        loaded = _guarded(path, lambda: _load(path))
    except OSError as error:
        raise _unreadable(path, error) from None
    return _weights(loaded, path, say)


def download(url: str, *, directory: Path | None = None) -> dict[str, torch.Tensor]:
    """The weights in a pickled file at ``url``, which is kept.

    The file's name holds the first digits of its SHA-256 (``resnet18-f37072fd.pth``), at least 8 of them.
    They are checked, also of a file that is there already.

    Args:
        url: where it is; over https.
        directory: where it is kept; None: torch's cache (``$TORCH_HOME/hub/checkpoints``).

    Raises:
        ResourceError: it cannot be downloaded, or not be kept.
        CheckpointError: it is not the file that its name says, its name says nothing, or as
            :func:`read_pickled`.
    """
    directory = Path(torch.hub.get_dir(), "checkpoints") if directory is None else directory
    name = os.path.basename(urllib.parse.urlsplit(url).path)
    path, digits = directory / name, downloads.pinned(name)
    if not digits:
        raise CheckpointError(
            f"nothing says which file {printable(name)} is: its name holds no digits of its SHA-256",
            f"from {printable(url)}",
            "publish it as NAME-DIGITS.pth, with at least 8 of them",
        )
    try:
        if path.exists():
            downloads.check(path, digits)
        else:
            downloads.fetch(url, path, digits)
        loaded = _guarded(path, lambda: _load(path))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ResourceError(
            f"the weights {printable(name)} cannot be downloaded: {printable(' '.join(str(reason).split()))}",
            f"from {printable(url)}",
            f"download the file elsewhere into {printable(str(directory))}, or give --model.weights FILE.safetensors",
        ) from error
    return _weights(loaded, path, None)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(4) == _ZIPPED
    if zipped:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            script = any(entry.filename.endswith("/constants.pkl") for entry in archive.infolist())
        if script:
            raise CheckpointError(
                "the file is TorchScript, a program and not weights alone",
                printable(str(path)),
                'where you trust it: torch.save(torch.jit.load(FILE).state_dict(), "weights.pt"), and import that',
            )
        if size > path.stat().st_size:  # torch reads compressed ones too, whatever they come to
            raise CheckpointError(
                f"the file is compressed, to {size:,} bytes from {path.stat().st_size:,}, as torch.save never does",
                printable(str(path)),
                "where you trust it, unpack it and zip it again without compression",
            )
    return torch.load(path, map_location="cpu", weights_only=True)


def _guarded(path: Path, load: Callable[[], Any]) -> Any:
    """What ``load`` returns; failures of the system as they are, all others as a CheckpointError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own, about forms that it reads all the same
            return load()
    except (OSError, MemoryError, CheckpointError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        found = _CLASS.search(text)
        if found is not None or ("weights_only" in text and "PytorchStreamReader" not in text):
            what = f"a {found[1]}" if found else "more than plain containers and tensors"
            raise CheckpointError(
                f"the file holds {what}; reading it could run any code, so it is refused",
                printable(str(path)),
                'where you trust it, save its weights alone: torch.save(model.state_dict(), "weights.pt")',
            ) from None
        raise _damaged(path, text or type(error).__name__) from None


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    reason = (error.strerror or type(error).__name__).lower()
    return CheckpointError(f"the file of weights cannot be read: {reason}", printable(str(path)), "check its name")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"this is no intact file of weights: {printable(reason[:200])}",
        printable(str(path)),
        "copy or download it again",
    )


def _weights(loaded: Any, path: Path, say: Say | None) -> dict[str, torch.Tensor]:
    """The weights in what a file held."""
    passed: set[int] = set()  # a dict may hold itself
    while isinstance(loaded, Mapping) and not _tensors_of(loaded):
        passed.add(id(loaded))
        further = ((key, value) for key, value in loaded.items() if isinstance(value, Mapping))
        inside = [key for key, value in further if id(value) not in passed and _holds_tensors(value)]
        known = [key for key in KEYS if key in inside]
        if not known and len(inside) != 1:
            raise _no_weights(path, [str(key) for key in inside])
        key = (known or inside)[0]
        others = ", ".join(printable(str(other)) for other in loaded if other != key)
        _tell(say, f"weights found under {printable(str(key))!r}" + (f", beside {others}" if others else ""))
        loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise _no_weights(path, [])
    tensors = _tensors_of(loaded)
    nested = [str(key) for key, value in loaded.items() if _holds_tensors(value) and key not in tensors]
    if nested:
        raise _no_weights(path, ["tensors by name", *nested])
    if left_out := [printable(str(key)) for key in loaded if key not in tensors]:
        _tell(say, f"left out what is no tensor: {', '.join(left_out[:5])}" + (" ..." if left_out[5:] else ""))
    _check_plain(tensors, path)
    return _without_prefixes(tensors, say)


def _check_plain(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses tensors that no safetensors file can hold, or no memory."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            what = f"{printable(name)} is no plain tensor"
            raise CheckpointError(what, printable(str(path)), "save it dense, of real numbers, first")
    size, own = sum(tensor.nbytes for tensor in tensors.values()), path.stat().st_size
    if size > _MOST_TIMES * own:
        raise CheckpointError(
            f"the file's {own:,} bytes stand for tensors of {size:,}, as their numbers repeat",
            printable(str(path)),
            "save tensors that are no expanded views",
        )


def _tensors_of(values: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {k: v.detach() for k, v in values.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def _holds_tensors(value: Any) -> bool:
    """Whether a tensor lies anywhere in plain containers, which may share parts, or hold themselves."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            return True
        if isinstance(item, Mapping | list | tuple | set) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, Mapping) else item)
    return False


def _without_prefixes(tensors: dict[str, torch.Tensor], say: Say | None) -> dict[str, torch.Tensor]:
    for prefix in (prefix for _ in range(3) for prefix in PREFIXES):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            _tell(say, f"{prefix!r} taken off all names")
    return tensors


def _no_weights(path: Path, found: list[str]) -> CheckpointError:
    several = f"several sets of tensors: {', '.join(printable(key) for key in found[:5])}"
    return CheckpointError(
        f"the file holds {several if found else 'no tensors by name'}",
        printable(str(path)),
        'save one set of weights alone: torch.save(model.state_dict(), "weights.pt")',
    )


def _tell(say: Say | None, line: str) -> None:
    if say is not None:
        say(line)
