"""What has to be kept of every sample, because no running sum of it is exact for any grouping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Kept(ABC):
    """Tensors with a row per sample, on the logits' device until they are read."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []

    @abstractmethod
    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""

    def merge(self, other: Any) -> None:
        """Adds the samples that ``other`` has seen."""
        self._parts = self._parts + other._parts

    def state_dict(self) -> dict[str, Any]:
        """What has been kept so far, on the host."""
        return {"kept": list(self._read())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._parts = [tuple(state["kept"])] if state["kept"] else []

    def _keep(self, *columns: Tensor) -> None:
        """Keeps tensors that nobody else holds; the first axis of each is the sample."""
        self._parts.append(columns)

    def _read(self) -> tuple[Tensor, ...]:
        """Each column over all samples, on the host; no columns where nothing was kept."""
        return tuple(torch.cat([part.cpu() for part in column]) for column in zip(*self._parts, strict=True))


class PairMean(Kept):
    """The mean over samples of a value that depends on (target, found), two small whole numbers.

    8 bytes per sample are kept. Equal pairs are counted and the counts' multiples added exactly
    (:func:`math.fsum`), so no order of samples changes a digit.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64."""
        self._keep(targets.to(torch.int32, copy=True), self._found(logits, targets).to(torch.int32))

    def compute(self) -> float | None:
        """The mean over all samples; None without samples."""
        _, values, counts = self._pairs()
        return self._mean(values, counts)

    def compute_per_class(self) -> list[float | None]:
        """K means, each over the samples of that class; None for a class without samples."""
        targets, values, counts = self._pairs()
        cuts = np.searchsorted(targets, np.arange(1, self.num_classes))
        parts = zip(np.split(values, cuts), np.split(counts, cuts), strict=True)
        return [self._mean(*part) for part in parts]

    def _pairs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Of each distinct pair its target, value and count [P], ordered by target."""
        kept = self._read()
        targets, found = (column.numpy().astype(np.int64) for column in kept) if kept else np.zeros((2, 0), np.int64)
        pairs, counts = np.unique(targets << 32 | found, return_counts=True)
        targets, found = pairs >> 32, pairs & 0xFFFFFFFF
        return targets, self._values(targets, found), counts

    def _mean(self, values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> float | None:
        return math.fsum(values * counts) / int(counts.sum()) if len(counts) else None

    @abstractmethod
    def _found(self, logits: Tensor, targets: Tensor) -> Tensor:
        """[B] integers in [0, 2**31), without a wait for the device."""

    @abstractmethod
    def _values(self, targets: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The value [P] of each pair."""
