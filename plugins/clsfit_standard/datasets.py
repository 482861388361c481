"""Data sets by name."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clsfit.data.table import SampleTable

_SIDE = 8
_LEVELS = 16


class Digits:
    """scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits".

    1,797 pictures of 8x8 pixels, grey levels 0..16 scaled to 0..255, classes ``0`` to ``9``; paths
    ``0000`` to ``1796`` in scikit-learn's order. Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49.
    """

    def __init__(self) -> None:
        rows = _read_packaged()
        self._pixels = np.rint(rows[:, :-1] * (255 / _LEVELS)).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
        self._targets = rows[:, -1].astype(np.int64)

    def table(self) -> SampleTable:
        """1,797 rows without a split."""
        return SampleTable(
            paths=tuple(f"{row:04d}" for row in range(len(self._targets))),
            classes=tuple(str(digit) for digit in range(10)),
            targets=self._targets,
        )

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """Picture ``row``: uint8 [8, 8]."""
        pixels: npt.NDArray[np.uint8] = self._pixels[row]
        return pixels


def _read_packaged() -> npt.NDArray[np.float64]:
    """[1797, 65] float64: 64 grey levels 0..16 and the digit.

    Reading the file takes a few milliseconds, importing sklearn.datasets half a second; but where the
    file lies is no promise of scikit-learn's, so its function stands in.
    """
    spec = find_spec("sklearn")  # finds the package without importing it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            numbers = gzip.decompress(file.read_bytes()).replace(b"\n", b",").rstrip(b",").split(b",")
            return np.array(numbers).astype(np.float64).reshape(-1, _SIDE * _SIDE + 1)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack((digits.data, digits.target))
