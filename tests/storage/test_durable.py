from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from clsfit.errors import ConfigError, ResourceError
from clsfit.storage import durable


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@pytest.mark.parametrize("data", [b"", b"abc", memoryview(b"abc" * 1000), [b"a", b"", memoryview(b"bc")]])
def test_what_is_written_is_read(tmp_path: Path, data: bytes | memoryview | list[bytes]) -> None:
    durable.write_file(tmp_path / "x", data, failpoint="x")
    assert durable.read_file(tmp_path / "x") == (b"".join(data) if isinstance(data, list) else bytes(data))
    assert names(tmp_path) == ["x"]


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    durable.write_file(tmp_path / ("n" * 255), b"1", failpoint="x")
    assert names(tmp_path) == ["n" * 255]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_the_mode_is_private_while_written_and_honours_the_umask_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    seen: list[int] = []
    real = os.write

    def write(handle: int, data: memoryview) -> int:
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    before = os.umask(mask)
    try:
        durable.write_file(tmp_path / "x", b"1", failpoint="x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


def test_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "x").symlink_to("secret")
    with pytest.raises(ResourceError, match="symbolic link"):
        durable.write_file(tmp_path / "x", b"new", failpoint="x")
    assert (tmp_path / "secret").read_bytes() == b"old"
    assert (tmp_path / "x").is_symlink()
    assert names(tmp_path) == ["secret", "x"]


def test_a_link_planted_under_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / ".tmp-guessed").symlink_to("secret")
    monkeypatch.setattr(durable.secrets, "token_hex", lambda _: "guessed")
    with pytest.raises(ResourceError):
        durable.write_file(tmp_path / "x", b"new", failpoint="x")
    assert (tmp_path / "secret").read_bytes() == b"old"


def test_a_pipe_is_neither_replaced_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ResourceError, match="no regular file"):
        durable.write_file(tmp_path / "x", b"new", failpoint="x")
    with pytest.raises(OSError, match="no regular file"):
        durable.read_file(tmp_path / "x")
    assert stat.S_ISFIFO((tmp_path / "x").lstat().st_mode)


@pytest.mark.parametrize("target", ["missing/x", "file/x", "folder"])
def test_impossible_targets_are_resource_errors(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResourceError) as error:
        durable.write_file(tmp_path / target, b"1", failpoint="x")
    assert error.value.exit_code == 5
    assert str(tmp_path / target) in str(error.value)
    assert names(tmp_path) == ["file", "folder"]


def test_a_full_disk_is_explained_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSFIT_FAILPOINT", "x:write:enospc")
    with pytest.raises(ResourceError, match=r"no space left.* \(1,234 bytes needed, [\d,]+ bytes free\)"):
        durable.write_file(tmp_path / "x", bytes(1234), failpoint="x")
    assert names(tmp_path) == []


def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> object:
        yield b"new"
        raise KeyboardInterrupt

    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        durable.write_file(tmp_path / "x", pieces(), failpoint="x")  # type: ignore[arg-type]
    assert (tmp_path / "x").read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    durable.write_file(tmp_path / "x", bytes(range(256)), failpoint="x")
    assert (tmp_path / "x").read_bytes() == bytes(range(256))


def test_directories_are_made_with_those_above(tmp_path: Path) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        durable.make_directory(tmp_path / "file")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_failpoint_strikes_at_its_hit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_hits", durable.Counter())
    monkeypatch.setenv("CLSFIT_FAILPOINT", "a:b:eio@2")
    durable.failpoint("a:b")
    durable.failpoint("a:c")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durable.failpoint("a:b")
    durable.failpoint("a:b")


@pytest.mark.parametrize("text", ["a:b", "kill", "a:b:explode", "a:b:kill@", "a:b:kill@x", ":kill"])
def test_a_malformed_failpoint_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLSFIT_FAILPOINT", text)
    with pytest.raises(ConfigError, match="failpoint"):
        durable.failpoint("anything")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the umask")
def test_what_other_threads_make_meanwhile_is_not_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(mask: int) -> int:
        raise AssertionError("the umask of the whole process was changed")

    with monkeypatch.context() as patched:
        patched.setattr(os, "umask", changed)
        durable.write_file(tmp_path / "x", b"1", failpoint="x")


def test_the_umask_is_found_where_the_system_does_not_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr(durable, "open", missing, raising=False)
    before = os.umask(0o027)
    try:
        assert durable.umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
