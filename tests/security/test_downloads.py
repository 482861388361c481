"""Downloads: over https, of the file whose hash is known, bounded, whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from clsfit import downloads, foreign
from clsfit.errors import CheckpointError, ResourceError


def weights() -> bytes:
    out = io.BytesIO()
    torch.save({"w": torch.ones(3)}, out)
    return out.getvalue()


BODY = weights()
DIGITS = hashlib.sha256(BODY).hexdigest()[:16]


class Answers(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - cleared for each test

    def do_GET(self) -> None:
        where = self.path.partition("?")[0]
        type(self).asked.append(self.path)
        if where.startswith("/to/"):
            self.send_response(302)
            self.send_header(
                "Location",
                {"plain": "http://example.invalid/x", "file": "file:///etc/passwd"}.get(
                    where.split("/")[2], f"/net-{DIGITS}.pth"
                ),
            )
            self.end_headers()
            return
        self.send_response(200)
        odd = {"huge": str(10**12), "endless": "9" * 5000, "odd": "many"}
        self.send_header("Content-Length", odd.get(where.split("/")[1], str(len(BODY))))
        self.end_headers()
        self.wfile.write(BODY[:10] if "/short/" in where else BODY)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Answers.asked.clear()
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_whole_file_with_the_right_hash_is_kept(server: str, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        os.umask(mask)
        assert list(foreign.download(f"{server}/net-{DIGITS}.pth", directory=tmp_path / "a" / "b")) == ["w"]
        assert list(foreign.download(f"{server}/to/own/net-{DIGITS}.pth", directory=tmp_path / "c")) == ["w"]
        assert list(foreign.download(f"{server}/odd/net-{DIGITS}.pth", directory=tmp_path / "d")) == ["w"]
    finally:
        os.umask(mask)
    kept = list((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in kept] == [f"net-{DIGITS}.pth"]
    assert kept[0].stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        ("/net-0123456789abcdef.pth", CheckpointError, "not what its name says"),
        (f"/short/net-{DIGITS}.pth", ResourceError, "the connection ended after 10 of"),
        (f"/huge/net-{DIGITS}.pth", ResourceError, "more than"),
        (f"/endless/net-{DIGITS}.pth", ResourceError, "more than"),
        (f"/to/plain/net-{DIGITS}.pth", ResourceError, "over https only, and this is http"),
        (f"/to/file/net-{DIGITS}.pth", ResourceError, "is not allowed"),
        ("/net.pth", CheckpointError, "no digits of its SHA-256"),
        ("/net-1234567.pth", CheckpointError, "no digits of its SHA-256"),
    ],
)
def test_nothing_else_is(server: str, tmp_path: Path, path: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as refused:
        foreign.download(server + path, directory=tmp_path / "kept")
    assert str(refused.value).count("\n") <= 2
    assert not (tmp_path / "kept").exists() or list((tmp_path / "kept").iterdir()) == []


def test_a_body_without_an_end_is_cut(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_MOST_BYTES", len(BODY) - 1)
    with pytest.raises(ResourceError, match="more than"):
        foreign.download(f"{server}/net-{DIGITS}.pth", directory=tmp_path)
    monkeypatch.setattr(downloads, "_MOST_BYTES", 100)
    with pytest.raises(ResourceError, match="more than"):
        downloads._copy(io.BytesIO(bytes(200)), io.BytesIO(), "https://x", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://example.invalid/n-01234567.pth", "ftp://127.0.0.1/n-01234567.pth", "file:///tmp/n-01234567.pth"]
)
def test_plain_addresses_are_refused_without_being_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="over https only"):
        foreign.download(url, directory=tmp_path)


def test_a_link_under_the_temporary_name_is_not_followed(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.secrets, "token_hex", lambda _: "known")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".downloading-known").symlink_to(victim)
    with pytest.raises(ResourceError):
        foreign.download(f"{server}/net-{DIGITS}.pth", directory=tmp_path / "kept")
    assert victim.read_text() == "mine"


def test_the_bundled_weights_are_pinned_and_asked_over_https() -> None:
    import torchvision

    seen = 0
    for name in torchvision.models.list_models(module=torchvision.models):
        for choice in torchvision.models.get_model_weights(name):
            assert choice.url.startswith("https://")
            assert downloads.pinned(choice.url), choice.url
            seen += 1
    assert seen > 50
