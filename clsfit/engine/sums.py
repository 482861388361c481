"""Exact sums over the samples of one epoch or one pass, without a wait per batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clsfit.contracts import Metric, PerClassMetric
from clsfit.engine.state import attributes, restore_attributes
from clsfit.errors import printable

_CHUNK_BATCHES = 64
_CHUNK_BYTES = 8 << 20
_NAMED = 10  # classes in one line


class Sums:
    """Loss and metrics over samples; batches may be grouped in any way without changing a digit.

    Logits and losses are kept as references and counted on the device once per chunk of batches.
    Each batch's loss sum is kept, and all are added exactly (:func:`math.fsum`) when they are read.

    Args:
        metrics: fresh metric objects by name.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self._samples = 0
        self._losses: list[torch.Tensor] = []  # one vector of loss sums per chunk
        self._chunk: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._room = 0  # batches that this chunk takes

    @property
    def samples(self) -> int:
        """The samples so far."""
        self._count()
        return self._samples

    def add(self, logits: torch.Tensor, targets: torch.Tensor, loss_sum: torch.Tensor) -> None:
        """Adds a batch.

        Args:
            logits: [B, K] float, detached.
            targets: [B] int64, or [B, K] float of which the largest counts as the class.
            loss_sum: scalar, the sum of the samples' losses, detached.
        """
        chunk = self._chunk  # a small model notices whatever is done here
        if not chunk:  # a pass has batches like its first, the last one aside
            self._room = min(_CHUNK_BATCHES, _CHUNK_BYTES // max(logits.nbytes, 1))
        chunk.append((logits, targets, loss_sum))
        if len(chunk) >= self._room:
            self._count()

    def merge(self, other: Sums) -> None:
        """Adds the samples that ``other``, with the same metrics, has counted."""
        self._count()
        self._samples += other.samples
        self._losses += other._losses
        for name, metric in self.metrics.items():
            metric.merge(other.metrics[name])

    def settle(self) -> None:
        """Counts what has gathered, and waits for the device."""
        self._count()
        if self._losses:
            self._losses[-1][-1].item()

    @torch.no_grad()
    @torch.inference_mode(False)  # or a metric could not add in place to what an earlier chunk made
    def _count(self) -> None:
        if not self._chunk:
            return
        all_logits, all_targets, losses = zip(*self._chunk, strict=True)
        self._losses.append(torch.stack(losses))
        logits = torch.cat(all_logits)
        targets = torch.cat([t.argmax(1) if t.is_floating_point() else t for t in all_targets])
        for metric in self.metrics.values():
            metric.update(logits, targets)
        self._samples += len(logits)
        self._chunk = []

    def scores(self, prefix: str = "") -> dict[str, float | None]:
        """``{prefix}loss`` and one value per metric; waits for the device. None where undefined."""
        self._count()
        losses = torch.cat(self._losses).tolist() if self._losses else []
        scores: dict[str, float | None] = {f"{prefix}loss": math.fsum(losses) / self._samples if losses else None}
        for name, metric in self.metrics.items():
            value = metric.compute()
            scores[prefix + name] = None if value is None else float(value)
        return scores

    def per_class(self, class_names: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """Of each metric that has them, its values by class; waits for the device. None where undefined."""
        self._count()
        return {
            name: dict(zip(class_names, metric.compute_per_class(), strict=True))
            for name, metric in self.metrics.items()
            if isinstance(metric, PerClassMetric)
        }

    def state_dict(self) -> dict[str, Any]:
        """What has been counted so far."""
        self._count()
        return {
            "samples": self._samples,
            "losses": torch.cat(self._losses).cpu() if self._losses else None,
            "metrics": {name: attributes(metric) for name, metric in self.metrics.items()},
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """The inverse of :meth:`state_dict`.

        Raises:
            ValueError: losses and samples do not go together.
        """
        samples, losses = state["samples"], state["losses"]
        if (samples, losses) != (0, None) and (samples < 1 or getattr(losses, "ndim", 0) != 1):
            raise ValueError(f"there are no losses of {samples} samples")
        self._samples = samples
        self._losses = [] if losses is None else [losses.to(device)]
        for name, metric in self.metrics.items():
            restore_attributes(metric, state["metrics"][name], device)


def undefined_notes(per_class: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A line for each metric whose value leaves classes out, with their names.

    Args:
        per_class: as :meth:`Sums.per_class` gives it.
    """
    lines = []
    for metric, values in per_class.items():
        if left_out := [printable(name) for name, value in values.items() if value is None]:
            more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
            share = f"{len(left_out)} of {len(values)} classes"
            names = ", ".join(left_out[:_NAMED])
            lines.append(f"note: {metric} is undefined for {share}, left out of its value: {names}{more}")
    return lines
