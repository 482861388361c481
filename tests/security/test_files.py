"""What clsfit writes: never into a data set, never through a link, under names that nobody can know before."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from clsfit.cli import main
from clsfit.data import cache as cache_files

Refused = Callable[..., str]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and modes are POSIX's")


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of change and content of everything below ``folder``, and of itself."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def data(attacked: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(attacked.data, tmp_path / "data"))


def ok(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def test_a_data_set_is_read_only_for_every_command(data: Path, attacked: SimpleNamespace, tmp_path: Path) -> None:
    (data / "table.csv").write_text(
        "path,label\nbars/000.png,bars\ndots/000.png,dots\nbars/001.png,bars\ndots/001.png,dots\n"
    )
    (data / "sample.csv").write_text("id,label\n000.png,\n")
    (data / "weights.pt").write_bytes(b"")
    import torch

    torch.save({"w": torch.ones(2)}, data / "weights.pt")
    before = state(data)
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1, "-q")
    for cache in ("off", "memory", "disk", "auto"):
        ok("train", data, *small, "--cache", cache, "-o", tmp_path / cache)
    ok("train", data / "table.csv", *small, "-o", tmp_path / "of-table")
    ok("train", data, *small, "--dry-run", "-o", tmp_path / "never")
    ok("train", data, *small, "--cache", "disk", "-o", tmp_path / "disk", "--overwrite")
    ok("train", data, *small, "--cache", "disk", "-o", tmp_path / "disk", "--resume")
    ok("evaluate", tmp_path / "disk")
    ok("evaluate", tmp_path / "disk", data, "--predictions", tmp_path / "judged.csv")
    ok("predict", tmp_path / "disk", data, "-o", tmp_path / "applied.csv")
    ok("predict", tmp_path / "disk", data / "bars", "--template", data / "sample.csv", "-o", tmp_path / "filled.csv")
    ok("import", data / "weights.pt", tmp_path / "weights.safetensors")
    ok("train", data, *small, "--folds", 2, "-o", tmp_path / "folds")
    ok("data", "check", data)
    ok("data", "check", data, "--json", "--html", tmp_path / "page.html")
    ok("data", "check", data / "table.csv")
    ok("data", "split", data, "-o", tmp_path / "split.csv")
    ok("data", "preview", data, "--model", "mlp", "-o", tmp_path / "seen.png")
    ok("bench", data, "--model", "mlp", "--seconds", 1)
    ok("plugins", "list")
    ok("config", "schema")
    assert state(data) == before


@pytest.fixture
def closed(data: Path) -> Iterator[Path]:
    """A data set in which nobody may write, or only root."""
    places = [data, *data.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    yield data
    for place in places:
        place.chmod(0o755 if place.is_dir() else 0o644)


def test_a_data_set_without_the_right_to_write_is_enough(
    closed: Path, attacked: SimpleNamespace, tmp_path: Path
) -> None:
    before = state(closed)
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1, "-q")
    ok("data", "check", closed, "--html", tmp_path / "page.html")
    ok("data", "split", closed, "-o", tmp_path / "split.csv")
    ok("data", "preview", closed, "--model", "mlp", "-o", tmp_path / "seen.png")
    ok("train", closed, *small, "-o", tmp_path / "run")
    ok("train", tmp_path / "split.csv", *small, "-o", tmp_path / "of-table")
    ok("evaluate", tmp_path / "run", closed, "--predictions", tmp_path / "judged.csv")
    ok("predict", tmp_path / "run", closed, "-o", tmp_path / "applied.csv")
    assert state(closed) == before


@pytest.mark.parametrize("below", [".", "bars", "new/run"])
def test_no_command_that_takes_data_writes_into_it(data: Path, below: str, refused: Refused) -> None:
    before = state(data)
    place = data / below
    small = ("--model", "mlp", "--model.hidden", "4", "--epochs", 1, "-q")
    refused({2}, "train", data, *small, "-o", place)
    refused({2}, "train", data, *small, "--folds", 2, "-o", place)
    refused({2}, "data", "check", data, "--html", place / "page.html")
    refused({2}, "data", "split", data, "-o", place / "split.csv")
    refused({2}, "data", "preview", data, "--model", "mlp", "-o", place / "seen.png")
    assert state(data) == before


def test_evaluate_writes_no_predictions_into_the_data(data: Path, tmp_path: Path, refused: Refused) -> None:
    run = tmp_path / "run"
    ok("train", data, "--model", "mlp", "--model.hidden", "4", "--epochs", 1, "-q", "-o", run)
    before = state(data)
    said = refused({2}, "evaluate", run, data, "--predictions", data / "bars" / "judged.csv")
    assert "into the data set" in said
    refused({2}, "evaluate", run, "--predictions", data / "judged.csv")  # the run's own data
    assert state(data) == before
    assert not (tmp_path / "judged.csv").exists()
    ok("evaluate", run, "--predictions", tmp_path / "judged.csv")


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file of somebody's, to which links lead; it must be as it was."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    before = state(folder)
    yield folder
    assert state(folder) == before, "something was written through a link"


SMALL = ("--model", "mlp", "--model.hidden", "4", "--epochs", "1", "-q")
WRITTEN = ("config.yaml", "environment.json", "split.csv", "metrics.jsonl", "log.txt", "best.safetensors")
WRITTEN += ("last.safetensors", "summary.json", ".lock")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_planted_link_in_the_run_directory(name: str, data: Path, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(victim / "mine")
    assert main(["train", str(data), *SMALL, "-o", str(run)]) in {2, 4, 5}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_dangling_link_makes_no_file(name: str, data: Path, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(victim / "new")
    assert main(["train", str(data), *SMALL, "-o", str(run)]) in {2, 4, 5}
    assert not (victim / "new").exists()


def test_checkpoints_behind_a_link(data: Path, victim: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(victim)
    assert main(["train", str(data), *SMALL, "-o", str(tmp_path / "run")]) == 5


def test_overwriting_a_run_whose_files_became_links(data: Path, victim: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ok("train", data, *SMALL, "-o", run)
    for name in ("last.safetensors", "metrics.jsonl", "summary.json"):
        (run / name).unlink()
        (run / name).symlink_to(victim / "mine")
    ok("train", data, *SMALL, "-o", run, "--overwrite")
    assert not any((run / name).is_symlink() for name in WRITTEN)


def test_output_files_that_are_links(data: Path, victim: Path, attacked: SimpleNamespace, tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    for name in ("out.csv", "out.jsonl", "out.safetensors"):
        (tmp_path / name).symlink_to(victim / "mine")
    assert main(["predict", str(attacked.run), str(data), "-o", "out.csv"]) == 5
    assert main(["evaluate", str(attacked.run), str(data), "--predictions", "out.jsonl"]) == 5
    assert main(["import", "w.pt", "out.safetensors", "--overwrite"]) == 5


def test_a_run_directory_that_is_swapped_for_a_link(
    data: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two writes the checkpoints' folder is moved away and a link put in its place."""
    from clsfit.storage import checkpoints

    run, save = tmp_path / "run", checkpoints.save

    def swapping(directory: Path, step: int, files: dict[str, bytes]) -> Path:
        made = save(directory, step, files)
        if not directory.is_symlink() and step == 0:
            (run / "metrics.jsonl").unlink(missing_ok=True)
            (run / "last.safetensors").symlink_to(victim / "mine")
        return made

    monkeypatch.setattr(checkpoints, "save", swapping)
    assert main(["train", str(data), *SMALL, "-o", str(run)]) == 5


def test_a_planted_link_in_the_cache(data: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CLSFIT_CACHE", str(folder))
    ok("train", data, *SMALL, "--cache", "disk", "-o", tmp_path / "first")
    made = [path for path in folder.rglob("*") if path.is_file()]
    assert made, "nothing was cached"
    for path in made:
        path.unlink()
        path.symlink_to(victim / "mine")
    ok("train", data, *SMALL, "--cache", "disk", "-o", tmp_path / "second")


def test_files_honour_the_umask_and_temporary_ones_are_private(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    original = os.open

    def noting(path: object, flags: int, mode: int = 0o777, **more: object) -> int:
        handle = original(path, flags, mode, **more)  # type: ignore[arg-type]
        if flags & os.O_CREAT:
            made.append((os.fspath(path), os.fstat(handle).st_mode & 0o777))  # type: ignore[call-overload]
            if ".tmp-" in made[-1][0]:
                assert flags & os.O_EXCL
                assert flags & os.O_NOFOLLOW
        return handle

    monkeypatch.setenv("CLSFIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "open", noting)
    mask = os.umask(0)
    try:
        ok("train", data, *SMALL, "--cache", "disk", "-o", tmp_path / "open")
        os.umask(0o077)
        ok("train", data, *SMALL, "-o", tmp_path / "closed")
    finally:
        os.umask(mask)
    temporary = {name: mode for name, mode in made if ".tmp-" in name and "/step-" not in name}
    assert len(temporary) > 5
    assert set(temporary.values()) == {0o600}, "readable by others while it is written"
    for folder, wanted in (("open", 0o666), ("closed", 0o600)):
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file() and path.name != ".lock"]
        assert {path.stat().st_mode & 0o777 for path in files} == {wanted}
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert cached
    assert all(path.stat().st_mode & 0o077 == 0 for path in cached), "the cache is the user's own"
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in cached)


def test_temporary_names_cannot_be_guessed(tmp_path: Path) -> None:
    from clsfit.storage import durable

    seen = []
    original = durable.create_file

    def noting(path: Path, *arguments: object, **more: object) -> None:
        seen.append(path.name)
        original(path, *arguments, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "create_file", noting)
        for _ in range(50):
            durable.write_file(tmp_path / "file", b"x", failpoint="log")
    assert len(set(seen)) == 50
    assert min(map(len, seen)) >= len(durable.TEMPORARY) + 16
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_cache_makes_its_temporary_file_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = cache_files.Writer(tmp_path / "cache")
    made = list((tmp_path / "cache").iterdir())
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600]
    writer.close()
