from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.errors import CheckpointError, ConfigError, ResourceError
from clsfit.storage import checkpoints
from clsfit.storage.rundir import SPLIT_COLUMNS, RunDirectory

SAMPLED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(
    st.characters(codec="utf-8")
    | st.sampled_from([chr(c) for c in range(0xDC80, 0xDD00)])
    | st.sampled_from('\r\n",\t\x0b\x85\u2028')
)
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(SPLIT_COLUMNS, NAMES)))


@pytest.fixture
def full(tmp_path: Path) -> RunDirectory:
    """A complete run, with all its files."""
    directory = RunDirectory(tmp_path / "runs" / "full")
    with directory.lock():
        directory.write_config("epochs: 2\ndata: photos\n")
        directory.write_environment({"torch": "2.11"})
        directory.write_split([{"path": "a/1.jpg", "label": "a", "group": "", "split": "train"}])
        for epoch in (1, 2):
            directory.metrics.append({"epoch": epoch})
            directory.log.append(f"epoch {epoch}")
        checkpoints.save(directory.checkpoints, 2, {"state.json": b"{}"})
        for name in ("best.safetensors", "last.safetensors"):
            (directory.path / name).write_bytes(b"weights")
        directory.write_summary({"epochs": 2, "stop_reason": "done", "best": float("nan")})
    return directory


def tree(path: Path) -> dict[str, bytes | None]:
    return {str(file.relative_to(path)): None if file.is_dir() else file.read_bytes() for file in path.rglob("*")}


def test_what_is_written_is_read(full: RunDirectory) -> None:
    again = RunDirectory(str(full.path))
    assert again.read_config() == "epochs: 2\ndata: photos\n"
    assert again.read_data() == "photos"
    assert again.read_environment() == {"torch": "2.11"}
    assert again.read_split() == [{"path": "a/1.jpg", "label": "a", "group": "", "split": "train"}]
    assert again.read_metrics() == [{"epoch": 1}, {"epoch": 2}]
    assert again.read_summary() == {"epochs": 2, "stop_reason": "done", "best": None}
    assert (full.path / "log.txt").read_text() == "epoch 1\nepoch 2\n"
    assert (again.holds_run(), again.holds_checkpoint(), again.complete()) == (True, True, True)


def test_the_layout(full: RunDirectory) -> None:
    assert sorted(entry.name for entry in full.path.iterdir()) == [
        ".lock",
        "best.safetensors",
        "checkpoints",
        "config.yaml",
        "environment.json",
        "last.safetensors",
        "log.txt",
        "metrics.jsonl",
        "split.csv",
        "summary.json",
    ]


def test_reading_and_asking_change_nothing(tmp_path: Path, full: RunDirectory) -> None:
    before = tree(tmp_path)
    RunDirectory(full.path).read_metrics()
    RunDirectory(full.path).complete()
    empty = RunDirectory(tmp_path / "none")
    assert (empty.holds_run(), empty.holds_checkpoint(), empty.complete()) == (False, False, False)
    assert tree(tmp_path) == before


@SAMPLED
@given(rows=ROWS)
def test_split_keeps_every_name(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_split(rows)
    assert directory.read_split() == rows


def test_split_is_plain_csv(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_split([{"split": "val", "path": 'a b/"1",2.jpg', "label": "ä", "group": ""}])
    assert (tmp_path / "split.csv").read_text() == 'path,label,group,split\n"a b/""1"",2.jpg",ä,,val\n'


@pytest.mark.parametrize(
    "text", ["", "path,label\n", "path,label,group,split\na,b\n", 'path,label,group,split\n"a,b,c,d\n', "a\nb"]
)
def test_a_damaged_split_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(CheckpointError, match=r"split\.csv"):
        RunDirectory(tmp_path).read_split()


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_summary_makes_no_complete_run(full: RunDirectory, text: bytes) -> None:
    (full.path / "summary.json").write_bytes(text)
    assert not full.complete()
    with pytest.raises(CheckpointError, match=r"summary\.json") as error:
        full.read_summary()
    assert error.value.exit_code == 4


@pytest.mark.parametrize("reader", ["config", "data", "environment", "split", "summary", "metrics"])
def test_missing_files_are_named(tmp_path: Path, reader: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or directory\n.*(yaml|json|csv)"):
        getattr(RunDirectory(tmp_path), f"read_{reader}")()


def test_data_must_be_named(tmp_path: Path) -> None:
    for text in ("epochs: 1\n", "[", "- 1\n"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(CheckpointError, match="names no data"):
            RunDirectory(tmp_path).read_data()


def test_metrics_forgive_a_torn_end_only(full: RunDirectory) -> None:
    metrics = full.path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + b'{"epo')
    assert full.read_metrics() == [{"epoch": 1}, {"epoch": 2}]
    metrics.write_bytes(b'{"epo\n{"epoch": 2}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        full.read_metrics()
    metrics.write_bytes(b"")
    assert full.read_metrics() == []


def test_clear_leaves_nothing_of_the_run_and_all_of_the_user(full: RunDirectory) -> None:
    mine = [
        "notes.txt",
        "config.yaml.bak",
        ".tmp-mine",
        "predictions.csv",
        "checkpoints/step-1.zip",
        "deep/config.yaml",
    ]
    (full.path / "deep").mkdir()
    for name in mine:
        (full.path / name).write_bytes(name.encode())
    with full.lock():
        full.clear()
        assert {name: data for name, data in tree(full.path).items() if data is not None} == {
            name: name.encode() for name in mine
        } | {".lock": f"{os.getpid()}\n".encode()}
        assert (full.holds_run(), full.holds_checkpoint(), full.complete()) == (False, False, False)
        full.log.append("the next run")
    assert (full.path / "log.txt").read_text() == "the next run\n"


def test_clear_refuses_what_is_no_run(tmp_path: Path) -> None:
    for name in ("summary.json", "log.txt", "best.safetensors"):
        (tmp_path / name).write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"no config\.yaml") as error:
        RunDirectory(tmp_path).clear()
    assert error.value.exit_code == 2
    assert tree(tmp_path) == before


def test_clear_stopped_anywhere_can_be_repeated_and_never_looks_complete(
    full: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hit in range(2, 9):
        monkeypatch.setattr("clsfit.storage.durable._hits", {"clear:remove": 0})
        monkeypatch.setenv("CLSFIT_FAILPOINT", f"clear:remove:eio@{hit}")
        with pytest.raises(ResourceError):
            full.clear()
        assert full.holds_run()
        assert not full.complete()
        assert not full.holds_checkpoint()
    monkeypatch.delenv("CLSFIT_FAILPOINT")
    full.clear()
    assert tree(full.path).keys() == {".lock"}


def test_clear_does_not_follow_links(full: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (full.path / "best.safetensors").unlink()
    (full.path / "best.safetensors").symlink_to(tmp_path / "mine")
    full.clear()
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert tree(full.path).keys() == {".lock"}


def test_checkpoints_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):  # the lock is not kept either
        with pytest.raises(ResourceError, match="symbolic link"):
            RunDirectory(tmp_path / "run").lock()


def test_lock_sweeps_what_kills_left_behind(full: RunDirectory) -> None:
    for name in (".tmp-0123456789abcdef", ".tmp-mine"):
        (full.path / name).write_bytes(b"1")
    (full.checkpoints / ".tmp-00000003-0123abcd").mkdir()
    full.lock().close()
    assert (full.path / ".tmp-mine").exists()
    assert not (full.path / ".tmp-0123456789abcdef").exists()
    assert [entry.name for entry in full.checkpoints.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.parametrize("path", ["file", "file/run"])
def test_a_file_in_the_way_is_a_resource_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="in the way") as error:
        RunDirectory(tmp_path / path).lock()
    assert error.value.exit_code == 5


def test_a_directory_without_a_run_is_taken_away(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "runs" / "one").lock():
        assert (tmp_path / "runs" / "one").is_dir()
    assert not (tmp_path / "runs" / "one").exists()
    with RunDirectory(tmp_path / "two").lock() as directory:
        directory.write_config("epochs: 1\n")
    assert (tmp_path / "two" / "config.yaml").exists()
    (tmp_path / "three").mkdir()
    with RunDirectory(tmp_path / "three").lock():
        pass
    assert (tmp_path / "three").is_dir()  # it was there before
    with RunDirectory(tmp_path / "four").lock():
        (tmp_path / "four" / "mine.txt").write_text("kept")
    assert (tmp_path / "four" / "mine.txt").read_text() == "kept"


def test_a_place_where_no_run_can_be_written_is_found_before_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/runs/x"):
        with pytest.raises(ResourceError, match="a file is in the way"):
            RunDirectory(tmp_path / place).check_place()
    RunDirectory(tmp_path / "new" / "run").check_place()
    assert not (tmp_path / "new").exists()


def test_a_read_only_file_system_is_not_said_to_lack_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args: False)
    for flags, said, remedy in (
        (0, "permission denied", "change its rights, or write elsewhere with -o"),
        (os.ST_RDONLY, "read-only file system", "write elsewhere with -o"),
    ):
        monkeypatch.setattr(os, "statvfs", lambda place, flags=flags: SimpleNamespace(f_flag=flags))
        with pytest.raises(ResourceError, match=said) as caught:
            RunDirectory(tmp_path / "run").check_place()
        assert caught.value.remedy == remedy
