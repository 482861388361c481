"""What a Parquet file becomes: columns, names, cells, pictures; and what is refused, with the row."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clsfit_parquet import file as files
from clsfit_parquet import pictures as kept
from clsfit_parquet.source import ParquetSource, parquet

from clsfit.data.columns import GUESSED, Columns
from clsfit.data.decode import PictureError
from clsfit.data.intake import open_path
from clsfit.data.table_file import TableSource
from clsfit.errors import ClsfitError, ConfigError, DataError

Write = Callable[..., Path]


def opened(path: Path, columns: Columns = GUESSED, classes: Any = None) -> Any:
    return parquet(str(path), columns, classes)


def refused(path: Path, columns: Columns = GUESSED, kind: type[ClsfitError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        opened(path, columns)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def as_csv(drawn: Any, folder: Path, rows: list[list[str]], header: str) -> Any:
    """The table of these rows beside the pictures, as the core reads it."""
    table = folder / "beside.csv"
    table.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return open_path(str(table))


@pytest.mark.parametrize("row_group_size", [1, 7, 1000])
@pytest.mark.parametrize("form", ["columns", "structs"])
def test_bytes_are_the_pictures_of_the_folder(drawn: Any, write: Write, form: str, row_group_size: int) -> None:
    source = opened(write(getattr(drawn, form)(), row_group_size=row_group_size))
    assert isinstance(source, ParquetSource)
    table = source.table()
    assert (list(table.paths), list(table.labels()), table.classes) == (
        drawn.paths,
        drawn.labels,
        ("bars", "dots", "rings"),
    )
    wanted = drawn.pictures()
    order = np.random.default_rng(3).permutation(len(wanted))
    for row in [*range(len(wanted)), *order.tolist()]:
        assert source.read(row) == wanted[row]
        assert source.head(row, 10) == wanted[row][:10]
    assert source.sizes_bytes.tolist() == [len(picture) for picture in wanted]


def test_paths_are_a_table_of_pictures(drawn: Any, tmp_path: Path) -> None:
    splits = ["train", "val"] * (len(drawn.paths) // 2)
    weights = [0.1 + i for i in range(len(drawn.paths))]
    columns = {"PATH": drawn.paths, "Class": drawn.labels, "split": splits, "weight": weights, "note": drawn.paths}
    pq.write_table(pa.table(columns), drawn.folder / "photos.pq")
    rows = [[p, k, s, repr(w), p] for p, k, s, w in zip(drawn.paths, drawn.labels, splits, weights, strict=True)]
    other = as_csv(drawn, drawn.folder, rows, "PATH,Class,split,weight,note")
    source = opened(drawn.folder / "photos.pq")
    (drawn.folder / "photos.pq").unlink()
    (drawn.folder / "beside.csv").unlink()
    assert isinstance(source, TableSource)
    assert source.table().fingerprint(source.sizes_bytes) == other.table().fingerprint(other.sizes_bytes)
    assert source.table().splits == other.table().splits
    assert source.notes == other.notes == ("columns that are not used: note",)
    assert source.stamp(np.arange(4)) == other.stamp(np.arange(4))


def test_a_struct_without_bytes_is_the_file_at_its_path(drawn: Any, write: Write, tmp_path: Path) -> None:
    for path, picture in zip(drawn.paths, drawn.pictures(), strict=True):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(picture)
    (tmp_path / drawn.paths[1]).unlink()
    images = [{"bytes": None if i % 3 else b"in the file", "path": path} for i, path in enumerate(drawn.paths)]
    columns = {"image": pa.array(images, drawn.structs()["image"].type), "label": drawn.labels}
    source = opened(write(columns))
    assert list(source.table().paths) == drawn.paths
    assert source.read(0) == b"in the file"
    assert source.read(2) == source.head(2, 1 << 20) == drawn.pictures()[2]
    assert source.absent == {1: "no such file or directory"}
    assert source.sizes_bytes[:3].tolist() == [11, 0, len(drawn.pictures()[2])]
    before = source.stamp(np.arange(3))
    os.utime(tmp_path / drawn.paths[2], ns=(1, 1))
    assert opened(tmp_path / "photos.parquet").stamp(np.arange(3)) != before


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["a", "a", "c"], ["row-00000001", "row-00000002", "row-00000003"]),
        (["a", None, "c"], ["row-00000001", "row-00000002", "row-00000003"]),
        (None, ["row-00000001", "row-00000002", "row-00000003"]),
    ],
)
def test_names_of_pictures_tell_them_apart(write: Write, names: Any, expected: list[str]) -> None:
    columns = {"image": [b"1", b"2", b"3"], "label": ["x", "y", "y"]}
    if names is not None:
        columns["file_name"] = names
    source = opened(write(columns))
    assert list(source.table().paths) == expected
    assert source.notes == ()  # a column of names is used, even where it does not tell them apart
    if names is not None:
        images = [{"bytes": b, "path": n} for b, n in zip(columns["image"], names, strict=True)]
        again = opened(write({"picture": images, "label": columns["label"]}))
        assert list(again.table().paths) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([7, 8, 8]), ["7", "8", "8"]),
        (pa.array([7, 8, 8], pa.uint8()), ["7", "8", "8"]),
        (pa.array([0.5, 3.0, 3.0]), ["0.5", "3.0", "3.0"]),
        (pa.array([True, False, False]), ["true", "false", "false"]),
        (pa.array([" cat ", "dog", "dog"], pa.large_string()), ["cat", "dog", "dog"]),
        (pa.array(["cat", "dog", "dog"]).dictionary_encode(), ["cat", "dog", "dog"]),
        (pa.array([b"cat", b"dog", b"dog"]), ["cat", "dog", "dog"]),
    ],
)
def test_cells_are_texts(write: Write, values: Any, expected: list[str]) -> None:
    source = opened(write({"image": [b"1", b"2", b"3"], "label": values}), Columns(path="image"))
    assert list(source.table().labels()) == expected


def test_null_is_empty(write: Write) -> None:
    columns = {
        "image": [b"1", b"2", b"3", b"4"],
        "label": pa.array([1.0, 2.0, None, float("nan")]),
        "split": ["train", None, "test", "test"],
    }
    table = opened(write(columns)).table()
    assert table.labels() == ("1.0", "2.0", "", "")
    assert table.splits == ("train", "", "test", "test")


def test_class_labels_of_hugging_face_have_their_names(write: Write) -> None:
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    columns = pa.table({"image": [b"1", b"2", b"3"], "label": [1, 0, -1], "split": ["", "", "test"]})
    named = columns.replace_schema_metadata({"huggingface": json.dumps(about)})
    assert opened(write(named)).table().labels() == ("dog", "cat", "")
    wrong = pa.table([*columns.columns[:1], pa.array([1, 0, 2])], names=["image", "label"])
    text = refused(write(wrong.replace_schema_metadata(named.schema.metadata)))
    assert text.startswith("the label 2 is none of the 2 classes that the file names\n")
    assert "photos.parquet, row 3" in text
    for broken in (b"{", b"[]", b'{"info": {"features": {"label": {"names": [1, 2]}}}}', b"\xff"):
        source = opened(write(columns.slice(0, 2).replace_schema_metadata({"huggingface": broken})))
        assert source.table().labels() == ("1", "0")


def test_a_model_has_its_classes(write: Write) -> None:
    path = write({"image": [b"1"], "label": ["dog"]})
    assert "there is only one class: dog" in refused(path)
    assert opened(path, classes=("dog", "cat")).table().targets.tolist() == [0]
    with pytest.raises(DataError, match="the model does not know the class dog"):
        opened(path, classes=("cow", "cat"))


def test_columns_by_name(write: Write) -> None:
    path = write(
        {"x": [b"1", b"2"], "thumbnail": [b"3", b"4"], "y": ["a", "b"], "z": [1, 2], "w": [0.5, 2], "s": ["train", ""]}
    )
    given = Columns(path="x", label="y", group="z", weight="w", split="s")
    source = opened(path, given)
    assert (source.read(1), source.table().labels()) == (b"2", ("a", "b"))
    assert (source.table().groups, source.table().splits) == (("1", "2"), ("train", ""))
    assert source.table().weights.tolist() == [0.5, 2.0]
    assert refused(path, Columns(path="q", label="y"), ConfigError).startswith(
        "--path-column: the table has no column 'q'"
    )
    assert refused(path).startswith("two columns may hold the pictures: x and thumbnail")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["image", "bytes"], "image"),
        (["bytes", "thumbnail"], "bytes"),
        (["anything"], "anything"),
        (["image", "picture"], None),
        (["thumbnail"], None),
    ],
)
def test_the_column_of_bytes_is_found(write: Write, names: list[str], expected: str | None) -> None:
    columns: dict[str, Any] = {name: [name.encode(), b"."] for name in names} | {"label": ["a", "b"]}
    if names == ["thumbnail"]:
        columns["path"] = ["a.png", "b.png"]
    if expected is None:
        assert refused(write(columns)).startswith("two columns may hold the pictures: ")
    else:
        assert opened(write(columns)).read(0) == expected.encode()


@pytest.mark.parametrize(
    ("columns", "what", "where"),
    [
        ({"image": [b"1", None], "label": ["a", "b"]}, "there is no picture: neither bytes nor a path", "row 2"),
        ({"path": ["a", None], "label": ["a", "b"]}, "the path is empty", "row 2"),
        ({"path": ["a", "a"], "label": ["a", "b"]}, "the picture a is named twice", "rows 1 and 2"),
        ({"path": ["a", "b\0"], "label": ["a", "b"]}, "the path holds a NUL character", "row 2"),
        ({"image": [b"1", b"2"], "label": ["a", None]}, "the label is empty", "row 2"),
        ({"image": [b"1", b"2"], "label": [["a"], ["b"]]}, "the column label for the label is of type list<", "photos"),
        (
            {"image": [b"1", b"2"], "label": ["a", "b"], "split": ["", "dev set"]},
            "split 'dev set' is not known",
            "row 2",
        ),
        (
            {"image": [b"1", b"2"], "label": ["a", "b"], "weight": [1.0, -1.0]},
            "the weight is no finite number",
            "row 2",
        ),
        ({"image": [b"1", b"2"], "label": ["a", "b"], "group": ["x", None]}, "the group is empty", "row 2"),
        ({"image": [b"1", b"2"], "label": [b"a", b"\xff"]}, "the label is no UTF-8", "row 2"),
        ({"image": [b"1", b"2"]}, "the table has no column for the label", "photos.parquet; its columns: image"),
        ({"label": ["a", "b"]}, "the table has no column for the path", "photos.parquet; its columns: label"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}, "the table has no rows", "photos"),
        ({"image": [b"1", b"2"], "label": ["a", "c" * 40_000]}, "a cell is longer than 32,768", "row 2"),
    ],
)
def test_what_is_refused_says_where(write: Write, columns: dict[str, Any], what: str, where: str) -> None:
    text = refused(write(columns))
    assert text.startswith(what)
    assert where in text.splitlines()[1]


def test_no_parquet_file(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 no such thing PAR1")
    assert refused(path).startswith("the Parquet file is damaged: ")
    path.write_bytes(b"")
    assert refused(path).startswith("the Parquet file is damaged: ")
    assert refused(tmp_path / "gone.parquet").startswith("the Parquet file cannot be read: no such file")
    path.unlink()
    os.mkfifo(path)
    assert refused(path).startswith("the Parquet file cannot be read: it is not a regular file")


def test_more_rows_than_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    path = write({"image": pa.array([b"1"] * 200_000), "label": pa.array(["a", "b"] * 100_000)})
    assert path.stat().st_size < 100_000
    assert len(opened(path).table()) == 200_000
    monkeypatch.setattr(files, "_ROWS", 100_000)
    assert refused(path).startswith("the file has 200,000 rows in ")


def test_a_value_that_all_rows_repeat_is_not_spread_out_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary holds each value once; 3,000 rows of this one would be 3 GB."""
    picture = bytes(1_000_000)
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array([picture], pa.binary()))
    table = pa.table({"image": images, "label": ["a", "b"] * 1500})
    path = write(table, store_schema=False, dictionary_pagesize_limit=1 << 24)
    monkeypatch.setattr(files, "_EXPANDED", 10_000_000)
    largest = pa.default_memory_pool().max_memory()
    source = opened(path)
    assert source.sizes_bytes.tolist() == [1_000_000] * 3000
    assert source.read(2999) == picture
    assert max(len(window) for window in source._pictures._kept.values()) == 9  # ten, and what the page's head takes
    assert pa.default_memory_pool().max_memory() <= max(largest, kept.KEPT + 200_000_000)


def test_memory_is_bounded_and_every_order_right(drawn: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row group of many windows, of which few are kept; threads ask in any order."""
    path = write(drawn.columns())
    monkeypatch.setattr(files, "WINDOW", 600)
    monkeypatch.setattr(kept, "KEPT", 1500)
    source, wanted = opened(path), drawn.pictures()
    assert any("a row group holds" in note for note in source.notes)
    order = np.random.default_rng(5).integers(0, len(wanted), 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for row, picture in zip(order, pool.map(source.read, order), strict=True):
            assert picture == wanted[row]
    pictures = source._pictures
    assert len(pictures._steps) == 1
    assert pictures._steps[0] < 10
    assert sum(values.nbytes for values in pictures._kept.values()) == pictures._bytes <= 1500


def test_in_order_each_window_is_decoded_once(drawn: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(drawn.columns(), row_group_size=20)
    monkeypatch.setattr(files, "WINDOW", 600)
    monkeypatch.setattr(kept, "KEPT", 1500)
    source = opened(path)
    begun: list[int] = []
    real = files.File.windows

    def counted(self: Any, group: int, leaf: Any) -> Any:
        begun.append(group)
        return real(self, group, leaf)

    monkeypatch.setattr(files.File, "windows", counted)
    for row in range(len(drawn.paths)):
        source.read(row)
    assert begun == [0, 1, 2]
    source.read(0)
    assert begun == [0, 1, 2, 0]


def read_all(source: Any) -> list[bytes]:
    return [source.read(row) for row in reversed(range(len(source.table())))]


def test_a_copy_in_a_spawned_process(drawn: Any, write: Write) -> None:
    source = opened(write(drawn.structs(), row_group_size=10))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(read_all, source).result(timeout=120) == drawn.pictures()[::-1]
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert again.stamp(np.arange(5)) == source.stamp(np.arange(5))


def test_a_file_that_changes_is_noticed(drawn: Any, write: Write) -> None:
    path = write(drawn.columns())
    source, copy = opened(path), pickle.dumps(opened(path))
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    for other in (source, pickle.loads(copy)):  # noqa: S301
        with pytest.raises(PictureError, match="the Parquet file has changed since it was opened"):
            other.read(0)
    assert opened(path).stamp(np.arange(5)) != source.stamp(np.arange(5))


def test_the_stamp_says_which_rows(drawn: Any, write: Write) -> None:
    source = opened(write(drawn.columns()))
    assert source.stamp(np.arange(5)) != source.stamp(np.arange(1, 6))


def test_a_picture_that_is_too_large(drawn: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsfit.data import reading

    source = opened(write(drawn.columns()))
    monkeypatch.setattr(reading, "MAX_BYTES", 20)
    with pytest.raises(PictureError, match="larger than"):
        source.read(0)
