"""Damaged data sets: tables of pictures in all their forms, and folders in which a picture is not what it was."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import mutate
import pictures

Row = dict[str, str]

_ENDINGS = (".csv", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
_PATHS = (
    *("/etc/passwd", "/dev/zero", "/dev/null", "../../../../../../etc/passwd", "..", ".", "/", "~", "a/../../a/0.png"),
    *("a", "a/", "a//0.png", "./a/0.png", "a/0.png/", "a/0.png ", " a/0.png", "A/0.PNG", "gone.png", "\\a\\0.png"),
    *("loop/0.png", "left.png", "broken.png", "pipe.png", "sound.png", "x" * 255 + ".png", "x" * 5000, "a\0b.png"),
    *("http://example.org/a.png", "file:///etc/passwd", "C:\\a.png", "\ufeffa/0.png", "a/0.png\r", "a\n0.png", "?"),
)
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-7")
_TINY = ("--model", "mlp", "--model.hidden", "4", "--input-size", "8", "--threads", "1", "--device", "cpu", "-q")


def _folder(whole: Path, here: Path) -> list[Row]:
    """Eight pictures of two classes, and beside them what no table should name."""
    rows = []
    for name, source in (("a", "bars"), ("b", "dots")):
        (here / name).mkdir()
        for number, file in enumerate(sorted((whole / "data" / source).iterdir())[:4]):
            shutil.copyfile(file, here / name / f"{number}.png")
            rows.append(
                {"path": f"{name}/{number}.png", "label": source, "group": str(number), "split": "", "weight": "1"}
            )
    for link, target in (("loop", "."), ("left.png", "/etc/passwd"), ("broken.png", "gone"), ("sound.png", "a/0.png")):
        os.symlink(target, here / link)
    os.mkfifo(here / "pipe.png")
    return rows


def _cells(rows: list[Row], rng: random.Random) -> None:
    """Some cells say something else."""
    for _ in range(rng.choice([1, 1, 2, 6])):
        row, column = rng.choice(rows), rng.choice(["path", "path", "label", "group", "split", "weight"])
        row[column] = rng.choice(_PATHS) if column == "path" and rng.randrange(3) else str(mutate.value(rng))


def _rows(rows: list[Row], rng: random.Random) -> None:
    """Rows come twice, go, or are very many."""
    kind = rng.randrange(5)
    if kind == 0:
        rows.append(dict(rng.choice(rows)))
    elif kind == 1:
        del rows[: rng.randrange(len(rows) + 1)]
    elif kind == 2:
        rows.extend(dict(rows[0], path=f"gone/{number}.png") for number in range(rng.choice([10, 3000])))
    elif kind == 3:
        for row in rows:
            row["label"] = rng.choice(["bars", "dots", "Bars", ""])
    else:
        for row in rows:
            row["split"] = rng.choice(["train", "val", "test", "", "valid"])


def _columns(rows: list[Row], rng: random.Random) -> None:
    """A column goes, is doubled under another name, or renamed."""
    kind, column = rng.randrange(3), rng.choice(["path", "label", "group", "split", "weight"])
    name = rng.choice(["file", "class", "Path", " path ", "", "x" * 5000, "split", "\x1b[2J"])
    for row in rows:
        value = row.get(column, "") if kind == 1 else row.pop(column, "")
        if kind:
            row[name] = value


def _text(rows: list[Row], ending: str, rng: random.Random) -> str:
    """The table, as its ending says, and sometimes not."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if ending in {".jsonl", ".ndjson"}:
        lines = [json.dumps(row, ensure_ascii=bool(rng.randrange(2))) for row in rows]
    else:
        separator = rng.choice([",", ",", ",", ",", ";", "\t", "|", ":"])
        lines = [
            _line(names, separator, rng),
            *(_line([row.get(n, "") for n in names], separator, rng) for row in rows),
        ]
    return rng.choice(["\n", "\n", "\n", "\r\n", "\r"]).join(lines) + rng.choice(["\n", "", "\n\n", "\x1a"])


def _line(cells: list[str], separator: str, rng: random.Random) -> str:
    odd = set(f'{separator}"\r\n')
    quoted = ('"' + cell.replace('"', '""') + '"' if odd & set(cell) and rng.randrange(20) else cell for cell in cells)
    return separator.join(quoted)


def _spoilt(text: str, rng: random.Random) -> bytes:
    """Bytes of the text that are damaged, or in an encoding that nobody said."""
    kind = rng.randrange(8)
    if kind == 0:
        return text.encode(rng.choice(_ENCODINGS), "replace")
    if kind in {1, 2}:
        return mutate.data(text.encode("utf-8", "surrogateescape" if rng.randrange(2) else "replace"), rng)
    at = rng.randrange(len(text) + 1)
    snippet = rng.choice(
        ['"', '""', "\0", "\ufeff", ",,,,", "\n" * 50, "[" * 2000, '{"a":' * 500, "x" * 200_000, "\ud800"]
    )
    text = text[:at] + snippet + text[at:] if kind == 3 else text
    return text.encode("utf-8", "surrogatepass")


def manifest(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A table of pictures with damage in its rows, cells, columns, text or bytes."""
    rows, ending = _folder(whole, here), rng.choice(_ENDINGS)
    hurt: list[Callable[[list[Row], random.Random], None]] = [_cells, _cells, _rows, _columns]
    for damage in rng.sample(hurt, rng.choice([0, 0, 1, 1, 2])):
        if rows:
            damage(rows, rng)
    file = here / f"table{ending}"
    file.write_bytes(_spoilt(_text(rows, ending, rng), rng))
    return rng.choice([*_taken(file, here), ["evaluate", str(whole / "run"), str(file)]])


def picture_in_a_set(whole: Path, here: Path, rng: random.Random) -> list[str]:
    """A folder of eight pictures, of which one or two are damaged."""
    (here / "data").mkdir()
    _folder(whole, here / "data")
    for odd in ("loop", "left.png", "broken.png", "pipe.png", "sound.png"):
        (here / "data" / odd).unlink()
    for _ in range(rng.choice([1, 1, 2])):
        form, data = pictures.damaged(rng)
        place = here / "data" / rng.choice("ab") / f"{rng.randrange(4)}"
        place.with_suffix(".png").unlink(missing_ok=True)
        place.with_suffix(rng.choice([".png", ".jpg", f".{form.lower()}"])).write_bytes(data)
    return rng.choice(_taken(here / "data", here))


def _taken(data: Path, here: Path) -> list[list[str]]:
    """The commands that take DATA; one in eight trains."""
    (here / "out").mkdir()
    check, train = ["data", "check", str(data)], ["train", str(data), *_TINY]
    bad = [*train, "--skip-bad", "--dry-run"]
    return [
        check,
        [*check, "--json"],
        [*check, "--strict", "--html", str(here / "page.html")],
        [*train, "--dry-run"],
        [*bad, "--cache", "disk"],
        [*bad, "--cache", "off"],
        [*train, "--skip-bad", "--epochs", "1", "--batch-size", "4", "-o", str(here / "run")],
        ["data", "split", str(data), "-o", str(here / "out" / "split.csv")],
    ]
