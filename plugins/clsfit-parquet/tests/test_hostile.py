"""Damaged files: each ends in a documented code with three lines at most, in a process that lives on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

NUMBER = 300
SEED = 20

OPEN = """
import json, sys
from pathlib import Path
import numpy as np
from clsfit_parquet.source import parquet
from clsfit.data.columns import GUESSED
from clsfit.data.decode import PictureError
from clsfit.errors import ClsfitError

for line in sys.stdin:
    path = line.rstrip("\\n")
    try:
        source = parquet(path, GUESSED, None)
        source.stamp(np.arange(1))
        said = "opened"
        for row in range(len(source.table())):
            try:
                source.read(row)
            except (PictureError, OSError) as error:
                said = f"a picture: {error}"
    except ClsfitError as error:
        said = f"{int(error.exit_code)}: {error}"
    print(json.dumps(said), flush=True)
"""


def mutations(data: bytes, number: int) -> list[bytes]:
    """Damaged copies: bits and bytes changed, parts cut out, repeated, swapped, the end cut off; half in the footer."""
    draw = random.Random(SEED)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    made = []
    for _ in range(number):
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 8))):
            first = len(changed) - footer if draw.random() < 0.5 else 0
            place = draw.randrange(max(0, min(first, len(changed) - 1)), len(changed))
            kind = draw.randrange(6)
            if kind == 0:
                changed[place] ^= 1 << draw.randrange(8)
            elif kind == 1:
                changed[place] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
            elif kind == 2:
                changed[place : place + 4] = draw.choice(
                    (b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff")
                )
            elif kind == 3:
                del changed[place : place + draw.randrange(1, 64)]
            elif kind == 4:
                changed[place:place] = changed[place : place + draw.randrange(1, 64)]
            else:
                del changed[place:]
            if len(changed) < 2:
                break
        made.append(bytes(changed))
    return made


def opened(paths: list[Path]) -> list[str]:
    """What became of each, in a process of its own: pyarrow is not Python, and could end one."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{len(done.stdout.splitlines())} of {len(paths)} files, then\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("form", ["columns", "structs"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damaged_files_end_in_documented_codes(
    drawn: Any, write: Callable[..., Path], tmp_path: Path, form: str, compression: str
) -> None:
    data = write(getattr(drawn, form)(), row_group_size=16, compression=compression).read_bytes()
    paths = []
    for number, changed in enumerate(mutations(data, NUMBER // 3)):
        paths.append(tmp_path / f"{number}.parquet")
        paths[-1].write_bytes(changed)
    results = opened(paths)
    assert len(results) == len(paths)
    for path, said in zip(paths, results, strict=True):
        code, _, text = said.partition(": ")
        assert code in {"opened", "a picture", "2", "3", "5"}, f"{path}: {said}"
        assert len(text.splitlines()) <= 3, said
    assert sum(said.startswith("3: ") for said in results) > len(results) // 3


def test_every_cut_is_noticed(drawn: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    data = write(drawn.columns(), row_group_size=16).read_bytes()
    paths = []
    for number, end in enumerate(np.linspace(0, len(data) - 1, 60).astype(int).tolist()):
        paths.append(tmp_path / f"{number}.parquet")
        paths[-1].write_bytes(data[:end])
    assert all(said.startswith("3: the Parquet file is damaged: ") for said in opened(paths))


def test_the_command_says_it_in_three_lines(clsfit: Callable[..., Any], drawn: Any, write: Callable[..., Path]) -> None:
    path = write(drawn.columns())
    path.write_bytes(path.read_bytes()[:-100])
    said = clsfit("train", path, "--epochs", 1, code=3).stderr.splitlines()
    assert said[0].startswith("clsfit: error: the Parquet file is damaged: ")
    assert said[1] == f"  {path}"
    assert said[2] == "  copy or make it anew"
    assert len(said) == 3


def test_a_row_group_that_lies_about_its_rows(write: Callable[..., Path]) -> None:
    """Rows in the footer that the pages have not."""
    path = write({"image": pa.array([b"1"] * 9), "label": ["a", "b", "c"] * 3})
    footer = pq.read_metadata(path)
    assert footer.num_rows == 9
    data = path.read_bytes()
    at = data.rindex(b"schema", 0, len(data) - 8)
    for number in range(at, len(data) - 8):
        if data[number] == 18:  # 9, as the footer writes it
            path.write_bytes(data[:number] + bytes([20]) + data[number + 1 :])
            (said,) = opened([path])
            assert said.startswith(("3: ", "opened")), said
