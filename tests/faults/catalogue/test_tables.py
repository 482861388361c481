"""Row 35: tables of pictures in all their spellings, by the real command."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Kept = Callable[[Path], Path]

QUICK = ("--model", "mlp", "--epochs", "1", "--dry-run")
NAMES = [f"p{i}.png" for i in range(8)]
ROWS = [(name, "ab"[i % 2]) for i, name in enumerate(NAMES)]
PLAIN = "path,label\n" + "".join(f"{path},{label}\n" for path, label in ROWS)


@pytest.fixture
def table(tmp_path: Path, png: Callable[..., bytes], kept: Kept) -> Callable[[bytes | str], Path]:
    """``table(text)``: a table beside eight pictures, none of which may change."""
    folder = tmp_path / "set"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        (folder / name).write_bytes(png(seed))

    def write(text: bytes | str, name: str = "table.csv") -> Path:
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        kept(folder)
        return folder / name

    return write


def case(name: str, text: bytes | str, said: str) -> Any:
    return pytest.param(text, said, id=name)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "said"),
    [
        case("plain", PLAIN, "a 4, b 4"),
        case("byte order mark, CRLF", b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(), "a 4, b 4"),
        case("semicolons, quotes", PLAIN.replace(",", ";").replace("a\n", '"a"\n'), "a 4, b 4"),
        case("tabs, other names, blank lines",
             PLAIN.replace("path,label", "Filename\tClass").replace(",", "\t") + "\n\n", "a 4, b 4"),
        case("UTF-16", PLAIN.encode("utf-16"), "a 4, b 4"),
        case("a further column", PLAIN.replace("\n", ",x\n").replace("label,x", "label,camera"),
             "columns that are not used: camera"),
        case("numbers stay texts", "path,label\n" + "".join(f"{n},{('1', '1.0', '01', 'NA')[i % 4]}\n"
             for i, n in enumerate(NAMES)), "01 2, 1 2, 1.0 2, NA 2"),
        case("names alike", "path,label\n" + "".join(f"{n},{('Cat', 'cat')[i % 2]}\n" for i, n in enumerate(NAMES)),
             "look alike"),
    ],
)  # fmt: skip
def test_row35_spellings(fault: Any, table: Any, text: bytes | str, said: str) -> None:
    done = fault(0, "train", table(text), *QUICK, "--val-fraction", "0")
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        case("a picture twice", PLAIN + "p0.png,a\n", ["p0.png is named twice", "lines 2 and 10", "remove one"]),
        case("labels that contradict", PLAIN + "./p0.png,b\n", ["p0.png is named twice", "lines 2 and 10"]),
        case("a missing file", PLAIN + "gone.png,a\n", ["gone.png", "no such file", "--skip-bad"]),
        case("a missing label", PLAIN.replace("p3.png,b", "p3.png,"), ["label is empty", "line 5", "only pictures"]),
        case("a label only of val",
             "path,label,split\n" + "".join(f"{p},{x},train\n" for p, x in ROWS[:6]) + "p6.png,c,val\n",
             ["does not know the class c", "line 8", "known: a, b"]),
        case("an unknown split", "path,label,split\n" + "".join(f"{p},{x},dev\n" for p, x in ROWS), ["dev", "line 2"]),
        case("NaN as a weight",
             "path,label,weight\n" + "".join(f"{p},{x},NaN\n" for p, x in ROWS), ["weight", "line 2"]),
        case("a short row", PLAIN + "p0.png\n", ["line 10"]),
        case("a long row", PLAIN + "p0.png,a,b,c\n", ["line 10"]),
        case("an open quote", PLAIN + '"p0.png,a\n', ["quote", "line 10"]),
        case("no header", "".join(f"{p},{x}\n" for p, x in ROWS), ["p0.png", "path"]),
        case("no label column", PLAIN.replace("label", "colour"), ["label", "colour"]),
        case("two label columns", PLAIN.replace("path,label", "label,label"), ["label"]),
        case("one class", PLAIN.replace(",b\n", ",a\n"), ["only one class: a", "another class"]),
        case("no rows", "path,label\n", ["table.csv"]),
        case("nothing", b"", ["table.csv"]),
        case("latin-1", PLAIN.replace("p0.png,a", "p0.png,gr\xfcn").encode("latin-1"), ["line 2"]),
        case("zeros", bytes(4096), ["table.csv"]),
        case("a spreadsheet", b"PK\x03\x04" + bytes(range(256)), ["table.csv"]),
    ],
)  # fmt: skip
def test_row35_what_is_wrong_is_3_with_its_line(fault: Any, table: Any, text: bytes | str, told: list[str]) -> None:
    fault(3, "train", table(text), *QUICK, tells=["table.csv", *told] if "gone.png" not in told else told)


def test_row35_a_hundred_thousand_rows(fault: Any, table: Any) -> None:
    text = "path,label\n" + "".join(f"none/{i}.png,{i % 7}\n" for i in range(100_000))
    fault(3, "train", table(text), *QUICK, tells=["100000 pictures cannot be read", "none/0.png", "--skip-bad"])


OBJECTS = "".join(f'{{"path": "{path}", "label": "{label}"}}\n' for path, label in ROWS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        case("a key twice", OBJECTS.replace('"b"}', '"b", "label": "c"}', 1), ["'label' is twice", "line 2", "once"]),
        case("one array", "[" + OBJECTS.replace("\n", ",\n")[:-2] + "]", ["no JSON", "line 1", "one object per line"]),
        case("NaN", OBJECTS.replace('"a"}', "NaN}", 1), ["NaN is no JSON", "line 1"]),
        case("a list of labels", OBJECTS.replace('"a"}', '["a"]}', 1), ["the label is a list", "line 1"]),
        case("a picture twice", OBJECTS + OBJECTS[: OBJECTS.index("\n")], ["named twice", "lines 1 and 9"]),
        case("nesting", OBJECTS + "[" * 100_000, ["nested too deeply", "line 9"]),
        case("zeros", bytes(4096), ["NUL"]),
    ],
)  # fmt: skip
def test_row35_json_lines(fault: Any, table: Any, text: bytes | str, told: list[str]) -> None:
    fault(3, "train", table(text, "table.jsonl"), *QUICK, tells=["table.jsonl", *told])


@pytest.mark.faults
def test_row35_a_table_through_training_and_back(fault: Any, table: Any, tmp_path: Path, small: list[str]) -> None:
    rows = [(path, f"0{i % 2}") for i, (path, _) in enumerate(ROWS)]
    path = table("\ufeffimage;class;other\r\n" + "".join(f'"{p}";{label};x\r\n' for p, label in rows))
    lines = table("".join(f'{{"img": "{p}", "class": "{label}"}}\n' for p, label in rows), "t.jsonl")
    fault(0, "train", lines, *small, "-o", "out")
    fault(0, "evaluate", "out", path, "--predictions", "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"]) for row in rows] == [(name, f"0{i % 2}") for i, name in enumerate(NAMES)]
