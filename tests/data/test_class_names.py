"""Classes that a split lacks, or that nobody trained, are told by their names, however the data are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.data.class_names import unknown
from clsfit.data.intake import open_path
from clsfit.errors import DataError

TRAINED = ["train/big cat/1.png", "train/dog/1.png", "train/mole/1.png", "train/bird/1.png"]
Open = Callable[..., Any]


@pytest.fixture(params=["folder", "zip", "tar", "table"])
def opened(request: pytest.FixtureRequest, make_tree: Any, pack: Any) -> Open:
    """``opened(paths, classes)``: a data set of ``split/class/file``, in one of the forms that one may have."""

    def run(paths: list[str], classes: tuple[str, ...] | None = None) -> Any:
        top: Path = make_tree(paths)
        if request.param == "folder":
            return open_path(str(top), classes)
        if request.param == "table":
            lines = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]
            place = top.parent / "photos.csv"
            place.write_text("\n".join(["path,label,split", *(f"photos/{line}" for line in lines), ""]))
            return open_path(str(place), classes)
        return open_path(str(pack(top, "stored.zip" if request.param == "zip" else "pax.tar")), classes)

    return run


def _refused(opened: Open, paths: list[str], classes: tuple[str, ...] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        opened(paths, classes)
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_what_val_and_test_lack_is_told_by_name(opened: Open) -> None:
    assert opened(TRAINED).notes == ()
    notes = opened([*TRAINED, "val/mole/2.png", "val/big cat/2.png", "test/dog/2.png"]).notes
    assert notes == ("val has no pictures of: bird, dog", "test has no pictures of: big cat, bird, mole")


def test_the_order_of_the_folders_of_val_means_nothing(opened: Open) -> None:
    table = opened([*TRAINED, "val/mole/2.png", "val/big cat/2.png"]).table()
    assert table.classes == ("big cat", "bird", "dog", "mole")
    assert table.counts("val") == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("other", "meant"),
    [
        ("Dog", "dog"),
        ("dogs", "dog"),
        ("big_cat", "big cat"),
        ("Big-Cat", "big cat"),
        ("big  cats", "big cat"),
        ("brid", "bird"),
    ],
)
def test_a_renamed_class_is_refused_with_the_name_that_is_meant(opened: Open, other: str, meant: str) -> None:
    kept = [f"val/{name}/2.png" for name in ("big cat", "dog", "mole", "bird") if name != meant]
    text = _refused(opened, [*TRAINED, *kept, f"val/{other}/2.png"])
    assert f"training does not know the class {other}\n" in text
    assert f"did you mean {meant!r} for {other!r}? " in text


def test_a_class_that_val_has_is_not_meant_by_another(opened: Open) -> None:
    text = _refused(opened, [*TRAINED, "val/dog/2.png", "val/dogs/2.png"])
    assert "training does not know the class dogs" in text
    assert "did you mean" not in text
    assert "known: big cat, bird, dog, ..." in text


def test_a_stranger_is_named_without_a_guess(opened: Open) -> None:
    text = _refused(opened, [*TRAINED, "val/zebra/2.png", "test/yak/2.png"])
    assert "training does not know the classes yak, zebra" in text
    assert "did you mean" not in text


def test_a_models_classes_are_meant_too(opened: Open) -> None:
    text = _refused(opened, ["train/Dogs/1.png", "train/mole/1.png"], classes=("mole", "dog"))
    assert "the model does not know the class Dogs" in text
    assert "did you mean 'dog' for 'Dogs'?" in text


def test_two_renamed_classes_are_not_taken_for_one() -> None:
    present = [("val", "class-1"), ("val", "class_2"), ("train", "class 1"), ("train", "class 2")]
    assert unknown(present, ("class 1", "class 2")) == {"class-1": "class 1", "class_2": "class 2"}
    assert unknown([("val", "dog "), ("val", "DOG")], ("dog", "cat")) == {"DOG": "dog", "dog ": ""}
