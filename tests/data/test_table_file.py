"""Tables of pictures: what they may look like, what becomes a row, what is refused with its line."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit.data import checks
from clsfit.data.intake import open_path
from clsfit.data.table_file import TableSource, table_file
from clsfit.data.table_rows import LONGEST, PATHS
from clsfit.data.table_text import read_rows
from clsfit.errors import DataError

Tree = Callable[..., Path]
Write = Callable[..., Path]

GOOD = "path,label\na.png,cat\nb.png,dog\n"


@pytest.fixture
def write(make_tree: Tree) -> Write:
    """``write(text)``: a table beside the pictures a.png, b.png, c.png and deep/d.png."""
    top = make_tree(["a.png", "b.png", "c.png", "deep/d.png"])

    def run(text: str | bytes, name: str = "labels.csv") -> Path:
        (top / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return top / name

    return run


def _refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        table_file(path, **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert caught.value.exit_code == 3
    return text


def _labels(source: TableSource) -> dict[str, str]:
    return dict(zip(source.table().paths, source.table().labels(), strict=True))


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        codecs.BOM_UTF8 + GOOD.encode(),
        codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode(),
        GOOD.replace(",", "|").encode(),
        b"\n\n" + GOOD.replace("\n", "\n\n  \n").encode(),
        b'"path","label"\n"a.png"," cat "\n"b.png","dog"\n',
        b"Label ,x; y, Path\ncat,1;2,a.png\ndog,;,b.png\n",
        b"width;label;file\n1,5;cat;a.png\n2,5;dog;b.png\n",
    ],
)
def test_one_table_in_many_spellings(write: Write, data: bytes) -> None:
    assert _labels(table_file(write(data))) == {"a.png": "cat", "b.png": "dog"}


@pytest.mark.parametrize("label", ["label", "CLASS", "Target", "category"])
@pytest.mark.parametrize("path", [*PATHS[:3], "Image", "IMG"])
def test_names_of_columns(write: Write, path: str, label: str) -> None:
    assert _labels(table_file(write(GOOD.replace("path", path).replace("label", label)))) == {
        "a.png": "cat",
        "b.png": "dog",
    }


def test_labels_are_texts(write: Write) -> None:
    source = table_file(write("file,label\na.png,007\nb.png,7\nc.png,1.0\ndeep/d.png,NA\n"))
    assert source.table().labels() == ("007", "7", "1.0", "NA")
    assert source.table().classes == ("007", "1.0", "7", "NA")
    source = table_file(write("file,label\na.png,true\nb.png,nan\nc.png,None\n"))
    assert source.table().labels() == ("true", "nan", "None")


def test_optional_columns(write: Write) -> None:
    source = table_file(
        write(
            "path,label,group,split,weight,width\n"
            "a.png,cat,p1,train,1,9\nb.png,dog,p2,Validation,0.5,9\nc.png,,p3,test,2e0,9\ndeep/d.png,dog,p1,,0,9\n"
        )
    )
    table = source.table()
    assert table.groups == ("p1", "p2", "p3", "p1")
    assert table.splits == ("train", "val", "test", "")
    assert table.weights is not None
    assert table.weights.tolist() == [1, 0.5, 2, 0]
    assert table.targets.tolist() == [0, 1, -1, 1]
    assert source.notes == ("columns that are not used: width", "val has no pictures of: cat")
    bare = table_file(write(GOOD)).table()
    assert bare.weights is None
    assert bare.groups == ()
    assert bare.splits == ("", "")
    assert table_file(write("path,label,group\na.png,cat,\nb.png,dog, \n")).table().groups == ()


def test_the_bytes_of_pictures(write: Write, tmp_path: Path) -> None:
    away = tmp_path / "away.png"
    away.write_bytes(b"elsewhere")
    table = write(f"path,label\n./deep/d.png,x\n../photos/a.png,y\n{away},y\n")
    source = table_file(table)
    assert source.table().paths == ("./deep/d.png", "../photos/a.png", str(away))  # as written
    assert source.read(0) == (table.parent / "deep/d.png").read_bytes()
    assert source.head(1, 4) == (table.parent / "a.png").read_bytes()[:4]
    assert source.read(2) == b"elsewhere"
    assert source.sizes_bytes.tolist() == [(table.parent / path).stat().st_size for path in source.table().paths]


def test_the_stamp_changes_with_a_file(write: Write) -> None:
    path = write(GOOD)
    rows = np.arange(2)
    before = table_file(path).stamp(rows)
    assert table_file(path).stamp(rows) == before
    os.utime(path.parent / "b.png", ns=(1, 1))
    assert table_file(path).stamp(rows) != before
    assert table_file(path).stamp(rows[:1]) == table_file(path).stamp(rows[:1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,image,label\na.png,a.png,cat\n", "two columns may be the path: path and image"),
        ("path,label,class\na.png,a,b\n", "two columns may be the label: label and class"),
        ("path,label,split,Split\na.png,a,,\n", "two columns may be the split"),
        ("name,label\na.png,cat\n", "no column for the path"),
        ("path,kind\na.png,cat\n", "no column for the label"),
        ("path\na.png\n", "has one column: path"),
        ("", "the table is empty"),
        ("path,label\n", "the table has no rows"),
        ("path,label\na.png,cat\nb.png,dog,x\n", "line 3"),
        ("path,label\na.png,cat\nb.png\n", "a row has 1 columns, the header has 2"),
        ('path,label\na.png,"x\ny"\n\nb.png,dog,x\n', "line 5"),
        ('path,label\na.png,cat\nb.png,"x\ny",z\n', "line 3"),
        ("path,label\na.png,cat\n,dog\n", "the path is empty"),
        ("path,label\na.png,cat\nb.png,  \n", "line 3"),
        ("path,label,split\na.png,cat,\nb.png,,val\n", "the label is empty"),
        ("path,label,split\na.png,cat,dev\nb.png,dog,\n", "split 'dev' is not known"),
        ("path,label,group\na.png,cat,p\nb.png,dog,\n", "the group is empty"),
        ("path,label,weight\na.png,cat,1\nb.png,dog,-1\n", "weight is no finite number"),
        ("path,label,weight\na.png,cat,1\nb.png,dog,inf\n", "line 3"),
        ("path,label,weight\na.png,cat,nan\nb.png,dog,1\n", "line 2"),
        ("path,label,weight\na.png,cat,\nb.png,dog,1\n", "line 2"),
        ("path,label,weight\na.png,cat,1_0\nb.png,dog,1\n", "line 2"),
        ("path,label\na.png,cat\nb.png,dog\n./a.png,dog\n", "lines 2 and 4"),
        ("path,label\na.png,cat\nb.png,cat\n", "only one class: cat"),
        ("path,label,split\na.png,cat,\nb.png,dog,\nc.png,bird,val\n", "training does not know the class bird"),
        ("path,label\na.png,c\0t\nb.png,dog\n", "NUL"),
        ("path,label\n".encode("utf-16-le").decode(), "save it as UTF-8"),
        ('path,label\na.png,"cat\nb.png,dog\n', "line 2"),
        ('path,label\na.png,cat\nb.png,"dog"s\n', "line 3"),
        (f"path,label\na.png,cat\nb.png,{'x' * (LONGEST + 1)}\n", "longer than"),
        (f"path,label\na.png,cat\nb.png,{'x' * 200_000}\n", "line 3"),
    ],
)
def test_unusable_tables(write: Write, text: str, said: str) -> None:
    path = write(text)
    message = _refused(path)
    assert said in message
    assert "labels.csv" in message


def test_a_missing_column_names_those_that_there_are_and_what_is_looked_for(write: Write) -> None:
    text = _refused(write("name,tag\na.png,cat\n"))
    assert "its columns: name, tag" in text
    assert ", ".join(PATHS) in text


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_other_encodings_are_refused_with_their_line(write: Write, line_end: bytes) -> None:
    text = _refused(write(line_end.join([b"path,label", b"a.png,cat", b"b.png,ch\xe8vre", b""])))
    assert "no UTF-8 text" in text
    assert "line 3" in text


def test_a_cut_utf_16_is_refused(write: Write) -> None:
    assert "no UTF-16 text" in _refused(write((codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"))[:-1]))


def test_missing_pictures_are_rows_that_cannot_be_read(write: Write) -> None:
    path = write("path,label\na.png,cat\nb.png,dog\n" + "".join(f"no{i}.png,cat\n" for i in range(4)))
    source = table_file(path)
    assert source.absent == dict.fromkeys(range(2, 6), "no such file or directory")
    scan = checks.scan(source, source.table(), 0)
    assert sorted(scan.bad) == [2, 3, 4, 5]


def test_links_and_devices_as_in_a_folder(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    top = path.parent
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/s.png").write_bytes(b"x")
    (top / "out.png").symlink_to("../secret.png")
    (top / "outdir").symlink_to("../secrets")
    (top / "in.png").symlink_to("a.png")
    (top / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(top / "pipe.png")
    for name, why in {
        "out.png": "a link that leaves the data set",
        "outdir/s.png": "a link that leaves the data set",
        "broken.png": "a broken link",
        "pipe.png": "not a regular file",
        "deep": "not a regular file",
    }.items():
        assert f"{name} ({why})" in _refused(write(f"{GOOD}{name},cat\n"))
    assert len(table_file(write(f"path,label\nin.png,cat\n{tmp_path / 'secret.png'},dog\n")).table()) == 2
    os.mkfifo(top / "table.csv")
    assert "not a regular file" in _refused(top / "table.csv")


def test_classes_of_a_model(write: Write) -> None:
    table = table_file(write(GOOD), classes=("dog", "bird", "cat")).table()
    assert table.classes == ("dog", "bird", "cat")
    assert table.targets.tolist() == [2, 0]
    text = _refused(write(GOOD), classes=("dog", "bird"))
    assert "the model does not know the class cat" in text
    assert "line 2" in text


def test_a_path_is_a_folder_or_a_table_or_an_error(write: Write, make_tree: Tree) -> None:
    assert isinstance(open_path(str(write(GOOD, "LABELS.TXT"))), TableSource)
    assert open_path(str(make_tree(["x/1.png", "y/1.png"], "folder.csv"))).table().classes == ("x", "y")
    with pytest.raises(DataError, match="neither a folder nor an archive nor a table"):
        open_path(str(write(GOOD, "labels.json")))
    with pytest.raises(DataError, match="does not exist"):
        open_path("nowhere.csv")


def test_nothing_is_written(write: Write, tree_state: Callable[[Path], Any]) -> None:
    path = write(GOOD)
    before = tree_state(path.parent)
    source = table_file(path)
    source.read(0)
    assert tree_state(path.parent) == before


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(CELLS.filter(str.strip), CELLS.filter(str.strip)), min_size=1, max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=300, deadline=None)
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]], separator: str, line_end: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("path", "label"), *rows])
    read = read_rows("t.csv", out.getvalue().encode())
    assert read.paths == [path for path, _ in rows]
    assert read.labels == [label.strip() for _, label in rows]


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: ("path,label\n" + text).encode("utf-8", "replace"))
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_table_or_an_error_of_the_data(data: bytes) -> None:
    try:
        rows = read_rows("t.csv", data)
    except DataError as error:
        said = str(error).splitlines()
    else:
        assert len(rows.lines) == len(rows.paths) == len(rows.labels) > 0
        said = []
    assert len(said) <= 3
