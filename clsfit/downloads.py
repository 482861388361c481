"""Downloads: over TLS, of a file whose hash is known before, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from clsfit.errors import CheckpointError, ResourceError, printable

_SILENCE = 30.0  # seconds
_MOST_BYTES = 16 << 30  # the largest published weights of image classifiers have a third of it
_CHUNK = 1 << 20
_PINNED = re.compile(r"-([0-9a-f]{8,64})\.[^.]*$")
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def pinned(name: str) -> str:
    """The first digits of its SHA-256 that a file's name ends in, as ``net-f37072fd.pth``; else empty."""
    found = _PINNED.search(name)
    return found[1] if found else ""


def check(path: Path, digits: str) -> None:
    """Compares a file with the first digits of its SHA-256.

    Raises:
        CheckpointError: it is another one.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digits):
        raise CheckpointError(
            f"the downloaded file is not what its name says: its SHA-256 begins with {found[:8]}",
            printable(str(path)),
            "delete it; it is downloaded again then",
        )


def fetch(url: str, path: Path, digits: str) -> None:
    """Downloads ``url`` to ``path``, which appears when it is whole and has been checked.

    Args:
        url: an ``https`` address; ``http`` on this machine only. It may lead on to other such addresses.
        path: where it is kept; missing folders are made.
        digits: the first digits of its SHA-256, at least 8.

    Raises:
        CheckpointError: it is not the file that ``digits`` say.
        ResourceError: it cannot be downloaded, is too large, or comes from an address that is not https.
        OSError, HTTPException: the network or the disk, as they say.
    """
    _refuse_plain(url, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(url, headers={"User-Agent": "clsfit"})
    with urllib.request.build_opener(_Redirects).open(request, timeout=_SILENCE) as answer:
        said = answer.headers.get("Content-Length") or "0"
        promised = int(said[:20]) if said.isdecimal() else 0  # a server may say anything
        if promised > _MOST_BYTES:
            raise _too_large(url)
        if promised > (free := shutil.disk_usage(path.parent).free):
            raise OSError(f"{promised:,} bytes, and {free:,} are free on the disk")
        temporary = path.parent / f".downloading-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:  # x: a new file, never what a link of that name leads to
                digest = _copy(answer, file, url, promised)
            if not digest.startswith(digits):
                raise CheckpointError(
                    f"the download is not what its name says: its SHA-256 begins with {digest[:8]}",
                    printable(path.name),
                    "try again; if it stays so, the file was changed where it lies",
                )
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _copy(answer: Any, file: IO[bytes], url: str, promised: int) -> str:
    """The body into ``file``, durably; its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with tqdm(
        total=promised or None, unit="B", unit_scale=True, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
            if size > _MOST_BYTES:
                raise _too_large(url)
            digest.update(chunk)
            file.write(chunk)
            bar.update(len(chunk))
    if size < promised:
        raise HTTPException(f"the connection ended after {size:,} of {promised:,} bytes")
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to addresses that could have been asked for themselves."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _refuse_plain(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_plain(url: str, origin: str) -> None:
    """Whoever sits on the line could answer in plain http; nobody sits inside of this machine."""
    target, asker = urllib.parse.urlsplit(url), urllib.parse.urlsplit(origin)
    own = target.scheme == "http" and {target.hostname, asker.hostname} <= _THIS_MACHINE
    if target.scheme != "https" and not own:
        raise ResourceError(
            f"weights are downloaded over https only, and this is {printable(target.scheme or 'no address')}",
            f"{printable(url)}" + (f", to which {printable(origin)} leads" if url != origin else ""),
            "download the file elsewhere, check it, and give --model.weights FILE.safetensors",
        )


def _too_large(url: str) -> ResourceError:
    return ResourceError(
        f"the download has more than {_MOST_BYTES:,} bytes",
        f"from {printable(url)}",
        "download the file elsewhere, check it, and give --model.weights FILE.safetensors",
    )
