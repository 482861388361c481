"""The notes' submission: predictions in the folder's order under the template's ids."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clsfit.cli import template

Classify = Callable[[str], str]
Submission = Callable[[Path, Path, Classify], bytes]
"""``(sample.csv, folder of pictures, class of a picture's path) -> the filled file``."""


def notes(sample: Path, folder: Path, classify: Classify) -> bytes:
    """As the notes have it: rows and predictions are paired by their number."""
    rows = list(csv.reader(io.StringIO(sample.read_text(), newline="")))
    predictions = [classify(str(folder / name)) for name in sorted(os.listdir(folder))]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    for row, predicted in zip(rows[1:], predictions, strict=True):
        writer.writerow([row[0], predicted])
    return out.getvalue().encode()


def ours(sample: Path, folder: Path, classify: Classify) -> bytes:
    form = template.read(sample)
    return form.filled([classify(picture.path) for picture in template.match(form, template.given([str(folder)]))])


def law(submission: Submission, tmp_path: Path) -> None:
    """Each row of the submission has the class of the picture that it names, in the template's order."""
    names = ["c.jpg", "a.jpg", "d.jpg", "b.jpg"]
    (tmp_path / "test").mkdir()
    for name in names:
        (tmp_path / "test" / name).write_bytes(b"")
    sample = tmp_path / "sample.csv"
    sample.write_text("ImageID,ans\n" + "".join(f"{name},0\n" for name in names))
    filled = submission(sample, tmp_path / "test", lambda path: f"class of {Path(path).stem}")
    assert filled.decode() == "ImageID,ans\n" + "".join(f"{name},class of {name[0]}\n" for name in names)


def test_each_row_has_the_class_of_its_own_picture(tmp_path: Path) -> None:
    law(ours, tmp_path)


def test_the_notes_pair_rows_and_pictures_by_number(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law(notes, tmp_path)
