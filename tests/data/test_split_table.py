"""The table of a split reads back as the same pictures, classes and split, whatever they are called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.data import split
from clsfit.data.intake import open_path
from clsfit.data.sources import files, folder
from clsfit.data.split_table import divided, written
from clsfit.data.table import SampleTable
from clsfit.errors import ConfigError, DataError

Tree = Callable[..., Path]


def tree_of(make_tree: Tree, number: int = 40, root: str = "photos", below: str = "") -> Path:
    return make_tree({f"{below}{'abc'[seed % 3]}/g{seed % 7}/{seed}.png": b"x" for seed in range(number)}, root)


def full(root: Path, table: SampleTable) -> list[tuple[str, str, str, str]]:
    places = [os.path.normpath(os.path.join(root, path)) for path in table.paths]
    groups = table.groups or ("",) * len(table)
    return list(zip(places, table.labels(), groups, table.splits, strict=True))


@pytest.mark.parametrize("options", [{}, {"group": "parent"}, {"group_regex": r"g\d"}, {"test_fraction": 0.2}])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_table_read_back_is_the_split(make_tree: Tree, tmp_path: Path, options: dict[str, str], seed: int) -> None:
    root = tree_of(make_tree)
    source = folder(root)
    table, _ = divided(source, seed=seed, **options)  # type: ignore[arg-type]
    place = tmp_path / "tables" / "split.csv"
    place.parent.mkdir()
    place.write_bytes(written(source, table, place))
    assert place.read_bytes().startswith(b"path,label,group,split\n../photos/a/g0/0.png,a,")
    again = open_path(str(place))
    assert again.absent == {}
    assert again.table().classes == table.classes
    assert full(place.parent, again.table()) == full(root, table)
    assert full(place.parent, split.hold_out(again.table(), 0.2, 99)) == full(root, table)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("fraction", [None, 0.35])
def test_it_is_the_split_that_a_run_makes(make_tree: Tree, seed: int, fraction: float | None) -> None:
    source = folder(tree_of(make_tree))
    table, _ = divided(source, seed=seed, val_fraction=fraction)
    assert table.splits == split.hold_out(source.table(), fraction or 0.2, seed).splits


def test_both_fractions_are_of_the_whole_and_no_picture_is_lost(make_tree: Tree) -> None:
    source = folder(tree_of(make_tree, 300))
    table, _ = divided(source, val_fraction=0.2, test_fraction=0.3, seed=1)
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert table.counts(name) == (100 * share,) * 3


def test_another_seed_takes_other_test_pictures(make_tree: Tree) -> None:
    source = folder(tree_of(make_tree, 60))
    first, again, other = (divided(source, test_fraction=0.2, seed=seed)[0] for seed in (1, 1, 2))
    assert first.splits == again.splits
    assert first.rows("test").tolist() != other.rows("test").tolist()


def test_pictures_that_have_a_split_keep_it(make_tree: Tree) -> None:
    root = tree_of(make_tree, 60, below="train/")
    tree_of(make_tree, 12, below="val/")
    source = folder(root)
    table, _ = divided(source, test_fraction=0.25)
    before = source.table().splits
    assert all(now == "val" for now, was in zip(table.splits, before, strict=True) if was == "val")
    assert table.counts("test") == (5, 5, 5)
    with pytest.raises(ConfigError, match="--val-fraction has no effect"):
        divided(source, val_fraction=0.3)
    tree_of(make_tree, 12, below="test/")
    with pytest.raises(ConfigError, match="--test-fraction has no effect"):
        divided(folder(root), test_fraction=0.3)


def test_groups_are_on_one_side(make_tree: Tree) -> None:
    table, notes = divided(folder(tree_of(make_tree, 120)), group="parent", test_fraction=0.2, val_fraction=0.2)
    sides = {(group, name) for group, name in zip(table.groups, table.splits, strict=True)}
    assert len(sides) == len({group for group, _ in sides}) == 7
    assert {name for _, name in sides} == {"train", "val", "test"}
    assert any(note.startswith("split by") for note in notes)


def test_fractions_that_leave_nothing_are_refused(make_tree: Tree) -> None:
    with pytest.raises(ConfigError, match="nothing would be left"):
        divided(folder(tree_of(make_tree)), val_fraction=0.5, test_fraction=0.5)


def test_weights_and_absolute_paths_are_kept(make_tree: Tree, tmp_path: Path) -> None:
    root = tree_of(make_tree, 6)
    table_path = tmp_path / "labels.csv"
    table_path.write_text(
        f"path,label,weight\nphotos/a/g0/0.png,a,0.1\n{root}/b/g1/1.png,b,2\nphotos/a/g3/3.png,a,1e-9\n"
    )
    source = open_path(str(table_path))
    place = tmp_path / "tables" / "split.csv"
    place.parent.mkdir()
    place.write_bytes(written(source, divided(source)[0], place))
    again = open_path(str(place)).table()
    assert again.paths == ("../photos/a/g0/0.png", f"{root}/b/g1/1.png", "../photos/a/g3/3.png")
    assert again.weights is not None
    assert again.weights.tolist() == [0.1, 2.0, 1e-9]


def test_pictures_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\ngone.png,a\nalso.png,b\n")
    with pytest.raises(DataError, match=r"(?s)2 pictures.*gone\.png"):
        divided(open_path(str(tmp_path / "labels.csv")))


def test_pictures_in_no_files_are_refused(make_tree: Tree, tmp_path: Path) -> None:
    source = files([str(tree_of(make_tree, 3))])
    with pytest.raises(DataError, match="in none"):
        written(source, source.table(), tmp_path / "split.csv")


@pytest.mark.parametrize("name", [" a", "a\u2003", "b\t", b"\xff".decode("utf-8", "surrogateescape")])
def test_a_class_that_a_table_cannot_name_is_refused(make_tree: Tree, tmp_path: Path, name: str) -> None:
    source = folder(make_tree({f"{name}/{i}.png": b"" for i in range(3)} | {"x/1.png": b"", "x/2.png": b""}))
    with pytest.raises(DataError) as caught:
        written(source, divided(source)[0], tmp_path / "split.csv")
    assert str(caught.value).replace("\n", "").isprintable()


def test_links_are_written_where_they_can_be_followed(make_tree: Tree, tmp_path: Path) -> None:
    root = tree_of(make_tree, 6)
    (root / "a/link.png").symlink_to("../b/g1/1.png")
    (root / "a/g0/near.png").symlink_to("0.png")
    source = folder(root)
    above, beside = tmp_path / "split.csv", tmp_path / "tables" / "split.csv"
    beside.parent.mkdir()
    above.write_bytes(written(source, divided(source)[0], above))
    assert len(open_path(str(above)).table()) == 8
    with pytest.raises(DataError, match=r"a/link\.png"):
        written(source, divided(source)[0], beside)
    (root / "a/link.png").unlink()
    source = folder(root)
    beside.write_bytes(written(source, divided(source)[0], beside))
    assert len(open_path(str(beside)).table()) == 7


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".")
)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=6, unique=True), st.integers(0, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_names_are_written_are_read(tmp_path: Path, names: list[tuple[str, str]], seed: int) -> None:
    labels = tuple(sorted({label for label, _ in names}))
    table = SampleTable(
        tuple(f"{label}/{name}.png" for label, name in names),
        labels,
        np.array([labels.index(label) for label, _ in names]),
        tuple("train" if row else "val" for row in range(len(names))),
    )
    source = folder_of(tmp_path, table)
    place = tmp_path / "split.csv"
    try:
        data = written(source, table, place)
    except DataError:
        assert any(label != label.strip() for label in labels)
        return
    from clsfit.data.table_text import read_rows

    rows = read_rows("split.csv", data)
    assert [os.path.normpath(path) for path in rows.paths] == [f"photos/{path}" for path in table.paths]
    assert (tuple(rows.labels), tuple(rows.splits)) == (table.labels(), table.splits)


def folder_of(root: Path, table: SampleTable) -> object:
    """A source of files that need not be there."""
    from clsfit.data.table_file import TableSource

    source = TableSource.__new__(TableSource)
    source.root, source._table = str(root / "photos"), table
    return source
