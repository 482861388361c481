from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.errors import CheckpointError, ResourceError
from clsfit.storage import checkpoints
from clsfit.storage.durable import write_file

FILES = {"model.safetensors": bytes(range(256)) * 3, "state.safetensors": b"", "state.json": b'{"epoch": 1}'}
SAMPLED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def steps(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def damage(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two checkpoints, of steps 1 and 2."""
    for step in (1, 2):
        checkpoints.save(tmp_path / "c", step, FILES)
    return tmp_path / "c"


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    assert checkpoints.newest_verified(tmp_path / "c") == (None, [])
    for step in (0, 7, 123_456_789):
        path = checkpoints.save(tmp_path / "c", step, FILES)
        found, skipped = checkpoints.newest_verified(tmp_path / "c")
        assert found is not None
        assert (found.step, found.path, skipped) == (step, path, [])
        assert {name: found.read(name) for name in found.hashes} == FILES
        assert (tmp_path / "c" / "latest").read_text() == path.name + "\n"
    assert steps(tmp_path / "c") == ["latest", "step-00000000", "step-00000007", "step-123456789"]


def test_content_is_every_file_verified_again(saved: Path) -> None:
    found, _ = checkpoints.newest_verified(saved)
    assert found is not None
    assert found.content() == FILES
    damage(found.path / "model.safetensors", 77)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        found.content()


def test_modes_honour_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = checkpoints.save(tmp_path / "c", 1, FILES)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o640}


@pytest.mark.parametrize(
    ("step", "files"), [(-1, FILES), (1, {}), (1, {"manifest.json": b""}), (1, {"../x": b""}), (1, {".hidden": b""})]
)
def test_what_cannot_be_a_checkpoint_is_refused(tmp_path: Path, step: int, files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        checkpoints.save(tmp_path / "c", step, files)
    assert not (tmp_path / "c").exists()


def test_a_step_saved_again_replaces_the_first(saved: Path) -> None:
    checkpoints.save(saved, 2, {"other.json": b"{}"})
    found, _ = checkpoints.newest_verified(saved)
    assert found is not None
    assert found.read("other.json") == b"{}"
    assert steps(saved) == ["latest", "step-00000001", "step-00000002"]


@SAMPLED
@given(data=st.data())
def test_every_flipped_bit_is_found(saved: Path, data: st.DataObject) -> None:
    whole = {name: size for name, size in sizes(saved / "step-00000002").items() if size}
    name = data.draw(st.sampled_from(sorted(whole)))
    bit = data.draw(st.integers(0, whole[name] * 8 - 1))
    expect_skipped(saved, saved / "step-00000002" / name, lambda path: damage(path, bit))


def test_every_flipped_bit_of_a_manifest_is_found(saved: Path) -> None:
    manifest = checkpoints.save(saved, 2, {"state.json": b"{}"}) / "manifest.json"
    for bit in range(manifest.stat().st_size * 8):
        expect_skipped(saved, manifest, lambda path, bit=bit: damage(path, bit))


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b"\n ", b"\n\t", 1),
        lambda raw: raw.replace(b'"step": 2', b'"step": 1,\n "step": 2'),
        lambda raw: raw.replace(b'"step": 2', b'"step": 2.0'),
    ],
    ids=["cut", "longer", "tab", "twice", "float"],
)
def test_a_manifest_that_says_the_same_in_other_bytes_is_damaged(saved: Path, harm: Callable[[bytes], bytes]) -> None:
    manifest = saved / "step-00000002" / "manifest.json"
    expect_skipped(saved, manifest, lambda path: path.write_bytes(harm(path.read_bytes())))


@SAMPLED
@given(data=st.data())
def test_every_truncation_and_extension_is_found(saved: Path, data: st.DataObject) -> None:
    name, size = data.draw(st.sampled_from(sorted(sizes(saved / "step-00000002").items())))
    change = data.draw(st.integers(-size, 9).filter(bool))
    path = saved / "step-00000002" / name
    content = path.read_bytes()
    expect_skipped(saved, path, lambda path: path.write_bytes((content + bytes(9))[: size + change]))


def sizes(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.iterdir()}


def expect_skipped(saved: Path, path: Path, harm: Callable[[Path], object]) -> None:
    """After ``harm`` the checkpoint of ``path`` is skipped by name, and the one before it is used."""
    content = path.read_bytes()
    harm(path)
    assert path.read_bytes() != content
    try:
        found, skipped = checkpoints.newest_verified(saved)
    finally:
        path.write_bytes(content)
    assert found is not None
    assert found.step == 1
    assert [where for where, _ in skipped] == [path.parent]
    if path.name != "manifest.json":  # a false hash there speaks of the file that it is of
        assert path.name in skipped[0][1]


@pytest.mark.parametrize("gone", ["model.safetensors", "state.safetensors", "manifest.json"])
def test_a_missing_file_is_found(saved: Path, gone: str) -> None:
    (saved / "step-00000002" / gone).unlink()
    found, skipped = checkpoints.newest_verified(saved)
    assert found is not None
    assert found.step == 1
    assert gone in skipped[0][1]


def test_a_checkpoint_under_another_step_is_not_believed(saved: Path) -> None:
    shutil.copytree(saved / "step-00000001", saved / "step-00000009")
    found, skipped = checkpoints.newest_verified(saved)
    assert found is not None
    assert found.step == 2
    assert skipped[0][0].name == "step-00000009"


def test_a_manifest_cannot_reach_outside(saved: Path) -> None:
    manifest = saved / "step-00000002" / "manifest.json"
    listed = json.loads(manifest.read_text())
    listed["files"] = {"../step-00000001/state.json": listed["files"]["state.json"]}
    manifest.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
    assert checkpoints.newest_verified(saved)[1] == [(manifest.parent, "manifest.json is damaged")]


def test_a_pipe_in_place_of_a_file_does_not_block(saved: Path) -> None:
    (saved / "step-00000002" / "state.json").unlink()
    os.mkfifo(saved / "step-00000002" / "state.json")
    assert "no regular file" in checkpoints.newest_verified(saved)[1][0][1]


def test_damage_after_the_search_is_found_by_read(saved: Path) -> None:
    found, _ = checkpoints.newest_verified(saved)
    assert found is not None
    damage(found.path / "state.json", 5)
    with pytest.raises(CheckpointError, match=r"state\.json"):
        found.read("state.json")
    with pytest.raises(KeyError):
        found.read("nothing")


def test_none_that_verifies_is_an_error_that_names_all(saved: Path) -> None:
    for step in (1, 2):
        damage(saved / f"step-0000000{step}" / "state.json", 0)
    with pytest.raises(CheckpointError) as error:
        checkpoints.newest_verified(saved)
    assert error.value.exit_code == 4
    assert "step-00000001: state.json" in str(error.value)
    assert "step-00000002: state.json" in str(error.value)
    assert len(str(error.value).splitlines()) == 3
    assert checkpoints.exist(saved)


def test_what_is_no_checkpoint_is_not_looked_at(saved: Path) -> None:
    for name in (".tmp-00000009-0123abcd", "step-9", "step-00000009-backup", "step-00000009x", "notes"):
        (saved / name).mkdir()
    found, skipped = checkpoints.newest_verified(saved)
    assert found is not None
    assert (found.step, skipped) == (2, [])


def test_prune_keeps_the_last_good_ones_and_the_best(tmp_path: Path) -> None:
    for step in range(6):
        checkpoints.save(tmp_path, step, FILES)
    damage(tmp_path / "step-00000004" / "state.json", 0)
    deleted = checkpoints.prune(tmp_path, keep=2, never={1})
    assert [path.name for path in deleted] == ["step-00000002", "step-00000000"]
    assert steps(tmp_path) == ["latest", *(f"step-0000000{step}" for step in (1, 3, 4, 5))]


def test_prune_deletes_nothing_while_too_few_are_good(saved: Path) -> None:
    checkpoints.save(saved, 3, FILES)
    damage(saved / "step-00000003" / "model.safetensors", 9)
    assert checkpoints.prune(saved, keep=2) == []
    assert steps(saved) == ["latest", "step-00000001", "step-00000002", "step-00000003"]


def test_sweep_deletes_leftovers_only(saved: Path) -> None:
    kept = [".tmp-mine", "notes", "step-00000002-backup", ".old-00000003"]
    for name in (*kept, ".tmp-00000009-0123abcd", ".tmp-0123456789abcdef", ".old-00000002-0123abcd"):
        (saved / name).mkdir()
        (saved / name / "file").write_bytes(b"1")
    checkpoints.sweep(saved)
    assert steps(saved) == sorted([*kept, "latest", "step-00000001", "step-00000002"])
    checkpoints.sweep(saved / "missing")


def test_sweep_gives_back_the_name_of_one_that_was_not_replaced(saved: Path) -> None:
    (saved / "step-00000002").rename(saved / ".old-00000002-0123abcd")
    found, _ = checkpoints.newest_verified(saved)
    assert found is not None
    assert (found.step, found.path.name) == (2, ".old-00000002-0123abcd")
    checkpoints.sweep(saved)
    assert steps(saved) == ["latest", "step-00000001", "step-00000002"]


@pytest.mark.parametrize("step", ["open", "write", "manifest", "sync-dir", "replace", "sync-replaced", "rename"])
def test_a_failed_save_leaves_the_directory_as_it_was(saved: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setenv("CLSFIT_FAILPOINT", f"checkpoint:{step}:eio")
    with pytest.raises(ResourceError):
        checkpoints.save(saved, 2, {"other.json": b"{}"})
    assert steps(saved) == ["latest", "step-00000001", "step-00000002"]
    found, _ = checkpoints.newest_verified(saved)
    assert found is not None
    assert found.hashes.keys() == FILES.keys()


def test_links_are_not_followed_when_deleting(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo").write_bytes(b"1")
    (saved / ".tmp-00000009-0123abcd").symlink_to(tmp_path / "mine")
    (saved / "step-00000009").symlink_to(tmp_path / "mine")
    checkpoints.sweep(saved)
    checkpoints.clear(saved)
    assert not saved.exists()
    assert (tmp_path / "mine" / "photo").exists()


def test_clear_leaves_what_is_not_ours(saved: Path) -> None:
    (saved / "step-00000001.zip").write_bytes(b"1")
    checkpoints.clear(saved)
    assert steps(saved) == ["step-00000001.zip"]


def test_a_file_in_the_way_is_a_resource_error(tmp_path: Path) -> None:
    write_file(tmp_path / "c", b"", failpoint="x")
    with pytest.raises(ResourceError, match="in the way"):
        checkpoints.save(tmp_path / "c", 1, FILES)
