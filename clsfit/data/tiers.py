"""Which tier the canvases go to, from what they take and what the machine has."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clsfit.data import cache as files
from clsfit.data.checks import header_of
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare

_PROBE = 256  # headers read to estimate what the canvases will take
_MEMORY_SHARE = 4  # --cache auto takes at most the available memory divided by this


@dataclass(frozen=True)
class Estimate:
    """Bytes of all canvases, and whether the probed ones have one size."""

    total: int
    uniform: bool


def estimate(source: Any, rows: npt.NDArray[np.int64], prepare: Prepare) -> Estimate:
    """What the canvases of ``rows`` will take, from the headers of some of them, evenly spaced."""
    probed = rows[np.unique(np.linspace(0, len(rows) - 1, min(_PROBE, len(rows))).astype(np.int64))]
    sizes: list[tuple[int, int]] = []
    for row in probed.tolist():
        try:
            header = header_of(source, row)
        except (PictureError, OSError):
            continue
        sizes.append(prepare.size(header.height, header.width))
    pixels = [height * width for height, width in sizes]
    mean = sum(pixels) / len(pixels) if pixels else 0.0
    return Estimate(round(mean * prepare.channels * len(rows)), len(set(sizes)) == 1)


def order(cache: str, expected: int, folder: Path, reasons: list[str]) -> list[str]:
    """Tiers to try; adds to ``reasons`` why the first choices are left out."""
    if cache == "off":
        reasons.append("--cache off")
        return ["stream"]
    fits_memory = expected <= files.available_memory() // _MEMORY_SHARE
    if cache == "memory":
        return ["memory", "stream"]
    if cache == "disk":
        return ["disk", "memory", "stream"] if fits_memory else ["disk", "stream"]
    if fits_memory:
        return ["memory", "disk", "stream"]
    reasons.append(f"{shown(expected)} are more than a quarter of the available memory")
    if expected > min(files.LIMIT_BYTES, free_bytes(folder)):
        reasons.append("and more than the cache directory may take")
        return ["stream"]
    return ["disk", "stream"]


def free_bytes(folder: Path) -> int:
    """Free bytes where ``folder`` is, or will be."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return 0


def shown(size: int) -> str:
    """``size`` bytes, for reading."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
