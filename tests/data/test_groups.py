"""Which group a picture belongs to, by folder, by pattern and by column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from clsfit.config.settings import Settings, read_setting, written
from clsfit.data.groups import assign
from clsfit.data.table import SampleTable
from clsfit.errors import ClsfitError, ConfigError, DataError


def _table(paths: Sequence[str], labels: str, splits: Sequence[str] = (), groups: Sequence[str] = ()) -> SampleTable:
    classes = sorted(set(labels))
    return SampleTable(
        tuple(paths), tuple(classes), np.array([classes.index(x) for x in labels]), tuple(splits), tuple(groups)
    )


PATHS = ("cat/ann/1.png", "cat/bob/2.png", "dog/ann/3.png", "dog/x/bob/4.png")


def test_the_name_of_the_folder_is_one_group_in_all_classes() -> None:
    table, notes = assign(_table(PATHS, "ccdd"), "parent", None, 0.2)
    assert table.groups == ("ann", "bob", "ann", "bob")
    assert notes == ()


@pytest.mark.parametrize(
    ("regex", "groups"),
    [
        (r"[a-z]+(?=/\d)", ("ann", "bob", "ann", "bob")),
        (r"/(a|b)", ("a", "b", "a", "b")),
        (r"^(cat|dog)/(?:x/)?(\w+)", ("cat", "cat", "dog", "dog")),
        (r"\d", ("1", "2", "3", "4")),
    ],
)
def test_a_pattern_finds_its_first_group_or_the_whole_match(regex: str, groups: tuple[str, ...]) -> None:
    assert assign(_table(PATHS, "ccdd"), None, regex, 0.2)[0].groups == groups


@pytest.mark.parametrize("regex", ["ann", "ann()?", "(b)?o?", "(ann)|bob", "x*"])
def test_a_path_without_a_group_is_named(regex: str) -> None:
    with pytest.raises(DataError, match="finds no group") as caught:
        assign(_table(PATHS, "ccdd"), None, regex, 0.2)
    assert len(str(caught.value).splitlines()) == 3


def test_how_many_have_no_group() -> None:
    paths = tuple(f"c/{i}.png" for i in range(9))
    with pytest.raises(DataError) as caught:
        assign(_table(paths, "ababababa"), None, "[0-3]", 0.2)
    assert "5 pictures" in caught.value.what
    assert caught.value.where == "c/4.png, c/5.png, c/6.png, and 2 more"


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (("a/1.png", "a/2.png", "b/1.png"), "aab"),
        (("train/a/1.png", "train/b/2.png", "val/a/1.png"), "aba"),
        (("n01/1.png", "n01/2.png", "n02/1.png"), "aab"),
        (("train/1.png", "train/2.png", "test/1.png"), "aba"),
    ],
)
def test_class_folders_are_no_groups(paths: tuple[str, ...], labels: str) -> None:
    with pytest.raises(DataError, match="the class folders") as caught:
        assign(_table(paths, labels), "parent", None, 0.2)
    assert "--group-regex" in caught.value.remedy


def test_pictures_in_no_folder() -> None:
    with pytest.raises(DataError, match="no folder"):
        assign(_table(("1.png", "a/2.png"), "ab"), "parent", None, 0.2)


@pytest.mark.parametrize("splits", [("train", "val", "val", "val"), ("train", "test", "test", "test")])
@pytest.mark.parametrize("own", [True, False])
def test_a_group_on_both_sides_is_refused(splits: tuple[str, ...], own: bool) -> None:
    given = ("ann", "bob", "ann", "bob")
    table = _table(PATHS, "ccdd", splits, given if own else ())
    with pytest.raises(DataError, match="more than one split") as caught:
        assign(table, None if own else "parent", None, 0.2)
    assert caught.value.where == f"ann (train and {splits[1]})"


def test_an_option_wins_over_the_column_with_a_note() -> None:
    table = _table(PATHS, "ccdd", groups=("p", "q", "r", "s"))
    changed, notes = assign(table, None, "ann|bob", 0.2)
    assert changed.groups == ("ann", "bob", "ann", "bob")
    assert len(notes) == 1
    assert "--group-regex" in notes[0]
    assert assign(table, None, None, 0.2) == (table, ())


@pytest.mark.parametrize("options", [("parent", None), (None, "ann|bob")])
def test_groups_without_any_split_are_without_effect(options: tuple[str | None, str | None]) -> None:
    with pytest.raises(ConfigError, match="no effect"):
        assign(_table(PATHS, "ccdd", ("train",) * 4), *options, 0.0)
    assert assign(_table(PATHS, "ccdd", ("train", "val") * 2), *options, 0.0)[0].groups[0] == "ann"


def test_both_options_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--group and --group-regex"):
        Settings(group="parent", group_regex="x")


def test_the_settings() -> None:
    assert read_setting("group", "parent", "") == "parent"
    assert read_setting("group", "none", "") is None
    assert read_setting("group_regex", "none", "") is None
    assert read_setting("group_regex", r"\d+", "") == r"\d+"
    assert (written(Settings())["group"], written(Settings())["group_regex"]) == ("none", "none")
    with pytest.raises(ClsfitError, match="unterminated subpattern") as caught:
        read_setting("group_regex", "(", "option --group-regex")
    assert caught.value.exit_code == 2
    assert read_setting("group", "person", "") == "person"  # a table's column
    with pytest.raises(ConfigError, match="names nothing"):
        read_setting("group", " ", "")
