from __future__ import annotations

import errno
import json
import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.errors import ResourceError
from clsfit.storage import durable
from clsfit.storage.log import AppendLog, JsonLog


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    for line in ("one", "zwei äöü", "undecodable \udcff"):
        log = AppendLog(tmp_path / "log.txt")
        log.append(line)
        log.close()
    assert (tmp_path / "log.txt").read_bytes() == "one\nzwei äöü\nundecodable \\udcff\n".encode()


def test_no_file_before_the_first_line(tmp_path: Path) -> None:
    AppendLog(tmp_path / "log.txt").close()
    assert not (tmp_path / "log.txt").exists()


@pytest.mark.parametrize("torn", [b"", b"whole\n", b"x" * 200_000, b'whole\n{"a": 1', b"whole\n" + bytes(70_000)])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "log.txt").write_bytes(torn)
    log = AppendLog(tmp_path / "log.txt")
    assert log.length == (6 if torn.startswith(b"whole\n") else 0)
    log.append("new")
    assert (tmp_path / "log.txt").read_bytes() == (b"whole\n" if torn.startswith(b"whole\n") else b"") + b"new\n"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    before=st.lists(st.text(st.characters(exclude_characters="\n"))),
    after=st.lists(st.text(st.characters(exclude_characters="\n"))),
    torn=st.binary(max_size=20).filter(lambda data: b"\n" not in data),
)
def test_truncate_brings_back_the_moment_of_the_sync(
    tmp_path: Path, before: list[str], after: list[str], torn: bytes
) -> None:
    path = tmp_path / "log.txt"
    path.unlink(missing_ok=True)
    log = AppendLog(path)
    for line in before:
        log.append(line)
    length = log.sync()
    then = path.read_bytes()
    for line in after:
        log.append(line)
    log.close()
    path.write_bytes(path.read_bytes() + torn)
    again = AppendLog(path)
    assert again.truncate(length) == 0
    assert path.read_bytes() == then
    assert length == again.length == len(then)


def test_a_log_that_lost_lines_is_never_filled_up(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"one\n")
    log = AppendLog(tmp_path / "log.txt")
    assert log.truncate(10) == 6
    assert (tmp_path / "log.txt").read_bytes() == b"one\n"


def test_rows_are_strict_json(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "metrics.jsonl", "metrics")
    log.append({"epoch": 1, "val/loss": math.nan, "more": [math.inf, -math.inf, 0.1], "ä": "\n\udcff", "n": None})
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    read = json.loads(lines[0], parse_constant=pytest.fail)
    assert read == {"epoch": 1, "val/loss": None, "more": [None, None, 0.1], "ä": "\n\udcff", "n": None}
    assert len(lines) == 1


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, plain = AppendLog(tmp_path / "log.txt"), os.write
    log.append("one")

    def full(handle: int, data: memoryview) -> int:
        plain(handle, data[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(ResourceError, match="4 bytes needed"):
            log.append("two")
    assert (tmp_path / "log.txt").read_bytes() == b"one\n"
    log.append("three")
    assert (tmp_path / "log.txt").read_bytes() == b"one\nthree\n"


def test_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "log.txt").symlink_to("secret")
    with pytest.raises(ResourceError, match="symbolic link"):
        AppendLog(tmp_path / "log.txt").append("new")
    assert (tmp_path / "secret").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["log:write", "log:fsync", "log:truncate"])
def test_failures_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    log = AppendLog(tmp_path / "log.txt")
    log.append("one")
    monkeypatch.setenv("CLSFIT_FAILPOINT", f"{step}:eio")
    action = {"log:write": lambda: log.append("two"), "log:fsync": log.sync, "log:truncate": lambda: log.truncate(0)}
    with pytest.raises(ResourceError):
        action[step]()
    assert (tmp_path / "log.txt").read_bytes() == b"one\n"


def test_two_threads_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    plain = durable.open_log

    def slow(path: Path) -> int:
        opened.append(handle := plain(path))
        meet.wait(0.3)  # the other thread comes here too, if it can
        return handle

    monkeypatch.setattr(durable, "open_log", slow)
    log, meet = AppendLog(tmp_path / "log.txt"), threading.Event()
    other = threading.Thread(target=log.append, args=("one",))
    other.start()
    log.append("two")
    other.join(60)
    assert len(opened) == 1
    assert sorted((tmp_path / "log.txt").read_bytes().splitlines()) == [b"one", b"two"]


def test_a_line_of_one_thread_survives_the_failure_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, plain, failing = AppendLog(tmp_path / "log.txt"), os.write, threading.Event()
    log.append("begun")

    def full(handle: int, data: memoryview) -> int:
        if threading.current_thread() is threading.main_thread():
            failing.set()
            other.join(0.3)  # time enough for the other line, if it can be written now
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(handle, data)

    def late() -> None:
        assert failing.wait(60)
        log.append("good")

    other = threading.Thread(target=late)
    other.start()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(ResourceError):
            log.append("lost")
        other.join(60)
    assert (tmp_path / "log.txt").read_bytes() == b"begun\ngood\n"
