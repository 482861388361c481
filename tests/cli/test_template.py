"""Filling a competition's file: what is read, which column, which picture, and what stays as it is."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsfit.cli import main, template
from clsfit.errors import ClsfitError, ConfigError, DataError

Run = Callable[..., Any]

# Text of a cell: anything but NUL, with bytes that are no UTF-8 as lone surrogates.
cells = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b",").decode("utf-8", "surrogateescape"))
quotings = st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)])


def read(folder: Path, text: str, **columns: str | None) -> template.Template:
    path = folder / "sample.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return template.read(path, **columns)


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5, unique_by=lambda row: row[1]),
    classes=st.lists(cells, min_size=5, max_size=5),
    separator=st.sampled_from(",;\t|"),
    form=quotings,
    bom=st.booleans(),
    cut=st.booleans(),
)
def test_it_reads_as_csv_does_and_changes_the_label_column_alone(
    tmp_path: Path,
    rows: list[tuple[str, str, str]],
    classes: list[str],
    separator: str,
    form: tuple[str, Any],
    bom: bool,
    cut: bool,
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=separator, lineterminator=form[0], quoting=form[1])
    writer.writerows([("note", "id", "label"), *rows])
    text = written.getvalue().removesuffix(form[0]) if cut else written.getvalue()
    text = "\ufeff" * bom + text
    if len(next(csv.reader(io.StringIO(text[bom:], newline=""), delimiter=separator))) < 3:
        return
    ours = read(tmp_path, text)
    assert ours.separator == separator
    assert ours.ids == tuple(row[1] for row in rows)
    assert ours.filled([row[2] for row in rows]) == text.encode("utf-8", "surrogateescape"), "what was there"
    filled = ours.filled(classes[: len(rows)]).decode("utf-8", "surrogateescape")
    got = list(csv.reader(io.StringIO(filled[bom:], newline=""), delimiter=separator))
    assert filled.startswith("\ufeff") == bom
    assert got[1:] == [[note, one, name] for (note, one, _), name in zip(rows, classes, strict=False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,label\na,\nb,x\n", "id,label\na,cat\nb,dog\n"),
        ('"id","label"\r\n"a","0"\r\n"b","0"', '"id","label"\r\n"a","cat"\r\n"b","dog"'),
        ("label|n|id\n|01|a\n|1.50|b\n \n", "label|n|id\ncat|01|a\ndog|1.50|b\n \n"),
        ('id;label;note\na; ;"x;\n\ny"\nb;;""\n', 'id;label;note\na;cat;"x;\n\ny"\nb;dog;""\n'),
        ('id\tlabel\na\t?\r\n\r\nb\t5" disk\n', "id\tlabel\na\tcat\r\n\r\nb\tdog\n"),
        ("\ufeffid,label\ra,\rb,", "\ufeffid,label\ra,cat\rb,dog"),
    ],
)
def test_all_else_stays_as_it_is(text: str, expected: str, tmp_path: Path) -> None:
    ours = read(tmp_path, text)
    assert ours.ids == ("a", "b")
    assert ours.filled(["cat", "dog"]) == expected.encode()


def test_a_class_with_a_separator_in_its_name_is_quoted(tmp_path: Path) -> None:
    ours = read(tmp_path, "id,label\na,\nb,\n")
    assert ours.filled(["cat, grey", 'a "dog"']) == b'id,label\na,"cat, grey"\nb,"a ""dog"""\n'


@pytest.mark.parametrize(
    ("header", "options", "label", "picture"),
    [
        ("ImageID,ans", {}, "ans", "ImageID"),
        ("x,Label,image", {}, "Label", "image"),
        ("fold,x,label", {}, "label", "fold"),
        ("id,image,label", {}, "label", "id"),  # two that could name pictures: the first column
        ("name,guess", {}, "guess", "name"),
        ("label,id", {}, "label", "id"),
        ("guess,name", {"id_column": "name"}, "guess", "name"),
        ("id,label,class", {"label_column": "class"}, "class", "id"),
        ("id,label,x", {"label_column": "id"}, "id", "label"),
        ("id,label,x", {"id_column": "x"}, "label", "x"),
        (" id, label", {}, " label", " id"),
    ],
)
def test_which_columns_are_meant(
    header: str, options: dict[str, str], label: str, picture: str, tmp_path: Path
) -> None:
    columns = header.split(",")
    ours = read(tmp_path, f"{header}\n{','.join(f'<{name}>' for name in columns)}\n", **options)
    assert ours.ids == (f"<{picture}>",)
    (span,) = ours.spans
    assert ours.text[slice(*span)] == f"<{label}>"


@pytest.mark.parametrize(
    ("header", "options", "said"),
    [
        ("a,b,c", {}, "--label-column"),
        ("id,label,class", {}, "columns: id, label, class"),
        ("id,label", {"label_column": "lable"}, "no column 'lable'"),
        ("id,x,x", {"label_column": "x"}, "2 columns 'x'"),
        ("id,label", {"id_column": "label"}, ""),
        ("id,label", {"id_column": "id", "label_column": "id"}, "one column, 'id'"),
    ],
)
def test_columns_that_are_not_clear_are_usage_errors(
    header: str, options: dict[str, str], said: str, tmp_path: Path
) -> None:
    text = f"{header}\n{'1,' * header.count(',')}1\n"
    if not said:  # the only other one is filled
        assert read(tmp_path, text, **options).spans[0][0] == len(header) + 1
        return
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **options)
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "fewer than two columns"),
        ("label\nx\n", "fewer than two columns"),
        ("id,label\n", "no rows"),
        ("id,label\na,\nb\n", "line 3"),
        ("id,label,n\na,,\n\n'b,c',,1\n", "line 4"),
        ('id,label\n"a,\n', "line 2"),
        ('id,label\na,"x"y\n', "line 2"),
        ("id,label\na,\nb,\na,\na,\nb,\n", "pictures in more than one row of the template: 2"),
        ("i\0d\0,\0l\0", "UTF-8"),
    ],
)
def test_what_is_no_template_is_a_data_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("ids", "paths"),
    [
        ("photos/b/2.png photos/a/1.png", ["photos"]),
        ("b/2.png a/1.png", ["photos"]),
        ("2.png 1.png", ["photos"]),
        ("2 1", ["photos"]),
        ("2 1", ["photos/a/1.png", "photos", "photos/b"]),  # a picture that is given twice is one picture
        ("2.png a/1.png", ["photos/a/1.png", "photos/b", "photos"]),
    ],
)
def test_an_id_finds_its_picture(ids: str, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "photos/a/1.png", "photos/b/2.png", "photos/b/3.png")
    one, two = ids.split()
    form = read(tmp_path, f"id,label\n{one},\n{two},\n")
    found = template.match(form, template.given(paths))
    assert [picture.path for picture in found] == ["photos/b/2.png", "photos/a/1.png"]


def test_one_form_for_all_rows_and_the_earlier_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "photos/1.png", "1.png", "2.png")
    form = read(tmp_path, "id,label\n1.png,\n")
    paths = ["photos/1.png", "1.png"]
    assert [picture.path for picture in template.match(form, template.given(paths))] == ["1.png"]
    form = read(tmp_path, "id,label\n1.png,\nphotos/1.png,\n2,\n")
    with pytest.raises(DataError, match="rows of the template without a picture: 1 of 3"):
        template.match(form, template.given([*paths, "2.png"]))


def test_rows_without_a_picture_and_with_several_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "p/a/1.png", "p/b/1.png", "p/b/2.png")
    form = read(tmp_path, "id,label\n2,\nw,\nx,\n,\nz,\n")
    with pytest.raises(DataError) as caught:
        template.match(form, template.given(["p"]))
    assert str(caught.value).startswith("rows of the template without a picture: 4 of 5\n")
    assert f"{tmp_path}/sample.csv: w, x, (empty), ..." in str(caught.value)
    form = read(tmp_path, "id,label\n1.png,\n2.png,\n")
    with pytest.raises(DataError, match="rows of the template that could mean more than one picture: 1 of 2") as caught:
        template.match(form, template.given(["p"]))
    assert "p/a/1.png, p/b/1.png" in str(caught.value)


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", str(pictures), "--model", "mlp", "--epochs", "2", "-q", "-o", str(folder)]) == 0
    return folder


def test_the_command_fills_a_template(trained: Path, pictures: Path, run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("predict", trained, pictures).out)))
    expected = {os.path.relpath(row["path"], pictures): row["predicted"] for row in rows}
    ids = ["rings/003.png", "bars/029.png", "dots/000.png", "bars/001.png"]
    assert len({expected[one] for one in ids}) > 1, "else any order would do"
    head = '\ufeffid;"weight";target\r\n'
    Path("sample.csv").write_bytes((head + "".join(f'{one};"0{n}.50";?\r\n' for n, one in enumerate(ids))).encode())
    filled = head + "".join(f'{one};"0{n}.50";{expected[one]}\r\n' for n, one in enumerate(ids))
    done = run("predict", trained, pictures, "--template", "sample.csv", "-o", "mine.csv")
    assert (done.out, done.err) == ("", "clsfit: note: not in the template, so not read: 59 of 63 pictures\n")
    assert Path("mine.csv").read_bytes() == filled.encode()
    for output in ((), ("-o", "-")):
        done = run("predict", trained, pictures, "--template", "sample.csv", *output, "--batch-size", 3)
        assert done.out == filled
    paths = [pictures / one for one in sorted(ids)]
    Path("names.csv").write_text("file,label\n" + "".join(f"{pictures}/{one},\n" for one in ids))
    done = run("predict", trained, *paths, "--template", "names.csv")
    assert done.out == "file,label\n" + "".join(f"{pictures}/{one},{expected[one]}\n" for one in ids)
    assert done.err == ""


def test_an_unreadable_picture_leaves_its_cell_empty(trained: Path, pictures: Path, run: Run) -> None:
    os.mkdir("new")
    Path("new/bad.png").write_bytes(b"no picture")
    Path("new/good.png").write_bytes((pictures / "bars" / "001.png").read_bytes())
    Path("new/out.png").symlink_to(pictures / "bars" / "001.png")
    Path("sample.csv").write_text("id,label\nout,x\nbad,x\ngood,x\n")
    done = run("predict", trained, "new", "--template", "sample.csv", "-o", "mine.csv", code=3)
    (predicted,) = list(csv.DictReader(io.StringIO(run("predict", trained, "new/good.png").out)))
    assert Path("mine.csv").read_text() == f"id,label\nout,\nbad,\ngood,{predicted['predicted']}\n"
    assert "2 of the pictures" in done.err
    assert "new/bad.png" in done.err
    assert "new/out.png (a link that leaves" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--template sample.csv --top-k 2", 2, "--top-k"),
        ("--template sample.csv --probabilities", 2, "--probabilities"),
        ("--template sample.csv -o x.jsonl", 2, ".csv"),
        ("--template sample.csv -o nowhere/x.csv", 2, "nowhere"),
        ("--template sample.csv -o sample.csv", 2, "keep the template"),
        ("--template sample.csv -o link.csv", 2, "keep the template"),
        ("--template sample.csv -o hard.csv", 2, "keep the template"),
        ("--template missing.csv", 2, "missing.csv"),
        ("--template sample.csv --label-column x", 2, "id, label"),
        ("--label-column label", 2, "--template FILE"),
        ("--id-column id", 2, "--template FILE"),
        ("--template sample.csv -o x.csv", 3, "without a picture"),
        ("nowhere/ --template sample.csv -o x.csv", 3, "does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_looked_at(arguments: str, code: int, said: str, run: Run) -> None:
    Path("sample.csv").write_text("id,label\na,x\n")
    Path("link.csv").symlink_to("sample.csv")
    os.link("sample.csv", "hard.csv")
    done = run("predict", "no-model", "b.png", *arguments.split(), code=code)
    assert said in done.err
    assert len(done.err.splitlines()) <= 3
    assert Path("sample.csv").read_text() == "id,label\na,x\n"
    assert not Path("x.csv").exists()


def test_the_checks_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("id,label\na,x\n")
    code = (
        "import sys; from clsfit.cli import main; "
        "print(main(['predict', 'm', 'b.png', '--template', 'sample.csv']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "3 False\n", done.stderr


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(template, "walk", refuse)
    with pytest.raises(ClsfitError, match="permission denied") as caught:
        template.given([str(tmp_path)])
    assert str(tmp_path) in str(caught.value)
