"""What was seen is not looked at again; what has changed is, alone; what is damaged is as nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.data.survey import Survey, duplicates, report
from clsfit.errors import TerminatedRunError

Tree = Callable[..., Path]
Scenes = Callable[..., bytes]
Surveyed = Callable[..., Survey]


@pytest.fixture
def tree(make_tree: Tree, scenes: Scenes) -> Path:
    content = {f"{'ab'[seed % 2]}/{seed}.png": scenes(seed) for seed in range(8)}
    return make_tree(
        content
        | {
            "b/again.jpg": scenes(0, None, "JPEG"),
            "b/copy.png": scenes(2),
            "b/text.png": b"x",
            "b/torn.png": b"\x89PNG",
        }
    )


def only(store: Path) -> Path:
    (found,) = (store / "canvases").iterdir()
    return found


def test_a_second_survey_reads_no_picture_and_finds_the_same(
    tree: Path, surveyed: Surveyed, opened: list[str], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = report.to_json(surveyed(tree))
    assert len(first["duplicates"]) == 2
    assert {os.path.basename(path) for path in opened} >= {"0.png", "again.jpg"}
    before = only(store).read_bytes()
    opened.clear()
    assert report.to_json(surveyed(tree)) == first
    assert opened == []
    assert only(store).read_bytes() == before
    monkeypatch.setattr(duplicates, "find", None)  # nor does it compare again
    assert report.to_json(surveyed(tree)) == first


def test_a_changed_picture_is_looked_at_alone(
    tree: Path, surveyed: Surveyed, opened: list[str], scenes: Scenes
) -> None:
    surveyed(tree)
    opened.clear()
    (tree / "b/3.png").write_bytes(scenes(99))
    (tree / "a/new.png").write_bytes(scenes(98))
    (tree / "b/torn.png").write_bytes(scenes(1))
    found = surveyed(tree)
    assert sorted(os.path.relpath(path, tree) for path in opened) == ["a/new.png", "b/3.png", "b/torn.png"]
    assert report.to_json(found)["unreadable"] == ["b/text.png"]
    assert found.unreadable[found.table.paths.index("b/text.png")].startswith("not an accepted format")
    assert {tuple(pair["paths"]) for pair in report.to_json(found)["duplicates"]} == {
        ("a/0.png", "b/again.jpg"),
        ("a/2.png", "b/copy.png"),
        ("b/1.png", "b/torn.png"),
    }
    opened.clear()
    surveyed(tree)
    assert opened == []


def test_a_picture_that_is_gone_takes_its_pairs_with_it(tree: Path, surveyed: Surveyed, opened: list[str]) -> None:
    surveyed(tree)
    opened.clear()
    (tree / "b/again.jpg").unlink()
    (tree / "b/torn.png").unlink()
    found = surveyed(tree)
    assert (len(found.duplicates), len(found.unreadable), opened) == (1, 1, [])


def test_the_same_size_at_another_time_is_another_picture(
    make_tree: Tree, surveyed: Surveyed, encode: Any, opened: list[str]
) -> None:
    from PIL import Image

    tree = make_tree({"a/1.bmp": encode(Image.new("L", (9, 9), 7), "BMP"), "b/2.png": None})
    surveyed(tree)
    (tree / "a/1.bmp").write_bytes(encode(Image.new("L", (9, 9), 8), "BMP"))
    os.utime(tree / "a/1.bmp", ns=(1, 1))
    opened.clear()
    surveyed(tree)
    assert [os.path.basename(path) for path in opened] == ["1.bmp"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_memory_is_as_none(
    tree: Path, surveyed: Surveyed, opened: list[str], store: Path, damage: str
) -> None:
    first = report.to_json(surveyed(tree))
    path = only(store)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(b"" if damage == "empty" else data[: -len(data) // 2] if damage == "cut" else data)
    if damage == "folder":
        path.unlink()
        path.mkdir()
    opened.clear()
    assert report.to_json(surveyed(tree)) == first
    assert len(opened) >= 11


def test_a_file_that_could_not_be_read_is_tried_again(
    tree: Path, surveyed: Surveyed, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clsfit.data import sources

    def refusing(path: str, length: int | None = None, plain: Any = sources.read_regular) -> bytes:
        if path.endswith("1.png"):
            raise PermissionError(13, "Permission denied")
        return bytes(plain(path, length))

    (tree / "a/1-too.png").write_bytes((tree / "b/1.png").read_bytes())
    with monkeypatch.context() as context:
        context.setattr(sources, "read_regular", refusing)
        found = surveyed(tree)
    assert len(found.duplicates) == 2
    assert found.unreadable[found.table.paths.index("b/1.png")] == "permission denied"
    opened.clear()
    found = surveyed(tree)
    assert (len(found.unreadable), len(found.duplicates)) == (2, 3)
    assert [os.path.basename(path) for path in opened] == ["1.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TerminatedRunError("terminated")])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_seen_before_an_interruption_is_not_seen_again(
    make_tree: Tree,
    scenes: Scenes,
    surveyed: Surveyed,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    workers: int,
) -> None:
    from clsfit.data import sources

    names = [f"{'ab'[seed // 50]}/{seed:02}.png" for seed in range(100)]
    root = make_tree(dict.fromkeys(names[2:], scenes(1)) | {names[0]: b"x", names[1]: scenes(2)})

    def interrupted(path: str, length: int | None = None, plain: Any = sources.read_regular) -> bytes:
        if path.endswith("70.png"):
            raise error
        return bytes(plain(path, length))

    with monkeypatch.context() as context:
        context.setattr(sources, "read_regular", interrupted)
        with pytest.raises(type(error)):
            surveyed(root, workers)
    seen = {os.path.relpath(path, root) for path in opened}
    assert len(seen) >= 60
    opened.clear()
    found = surveyed(root, workers)
    assert {os.path.relpath(path, root) for path in opened} == {*names} - seen
    assert (len(found.duplicates), len(found.unreadable)) == (97, 1)


def test_without_a_place_for_it_nothing_is_remembered(
    tree: Path, surveyed: Surveyed, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "file").touch()
    monkeypatch.setenv("CLSFIT_CACHE", str(store / "file"))
    assert len(surveyed(tree).duplicates) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_the_data_set_is_as_it_was(tree: Path, surveyed: Surveyed, tree_state: Any, workers: int) -> None:
    before = tree_state(tree)
    surveyed(tree, workers)
    surveyed(tree, workers)
    assert tree_state(tree) == before
