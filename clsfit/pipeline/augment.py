"""Drawing a batch's random changes, and joining them: one matrix, one table, then the rest.

All randomness comes from :class:`clsfit.keyed.Key`, drawn on the host in the calling thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from clsfit.errors import ConfigError, PluginError
from clsfit.keyed import Key
from clsfit.pipeline.room import room

Form = Literal["matrix", "table", "apply"]
Parameters = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    augment: Any
    form: Form
    purpose: str
    always: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn for N samples.

    Attributes:
        matrices: [N, 3, 3] float64, composed; None: no augmentation has one.
        tables: uint8 [N, 1 or C, 256], composed; None: no augmentation has one.
    """

    matrices: npt.NDArray[np.float64] | None
    tables: npt.NDArray[np.uint8] | None

    def part(self, first: int, last: int) -> Drawn:
        """Samples [first, last)."""
        matrices = None if self.matrices is None else self.matrices[first:last]
        return Drawn(matrices, None if self.tables is None else self.tables[first:last])

    @classmethod
    def joined(cls, parts: Sequence[Drawn]) -> Drawn:
        """What was drawn for consecutive samples; at least one part."""
        matrices = [part.matrices for part in parts if part.matrices is not None]
        tables = [part.tables for part in parts if part.tables is not None]
        return cls(np.concatenate(matrices) if matrices else None, np.concatenate(tables) if tables else None)


class Augmentation:
    """The augmentations of a run, in the order of its configuration.

    Args:
        augments: (name, object) pairs; each object is a :class:`clsfit.contracts.Augment`.

    Raises:
        PluginError: an object has none or several of ``matrix``, ``table``, ``apply``.
        ConfigError: one is ``always`` applied and has ``soft_targets``.
    """

    def __init__(self, augments: Sequence[tuple[str, Any]]) -> None:
        self._steps = [_step(place, name, augment) for place, (name, augment) in enumerate(augments)]

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def applies(self) -> bool:
        """Whether any of them has an ``apply``, which sees whole micro-batches."""
        return any(step.form == "apply" for step in self._steps)

    @property
    def always(self) -> tuple[str, ...]:
        """Names of those that are applied outside training too."""
        return tuple(step.name for step in self._steps if step.always)

    def without_chance(self) -> Augmentation:
        """Those that are applied outside training too, in the same order."""
        kept = Augmentation([])
        kept._steps = [step for step in self._steps if step.always]
        return kept

    def draw(
        self,
        seed: int,
        epoch: int,
        positions: npt.NDArray[np.int64],
        extents: npt.NDArray[np.int64],
        input_size: tuple[int, int],
    ) -> Drawn:
        """Draws the matrices and tables of N samples, which may belong to several micro-batches.

        Args:
            seed: the run's.
            epoch: from 0.
            positions: [N] int64, positions in the epoch's order.
            extents: [N, 2] int64, :meth:`clsfit.pipeline.finish.Finish.extents` of the samples.
            input_size: (height, width).

        Raises:
            PluginError: a result has a wrong shape or type.
        """
        matrices: npt.NDArray[np.float64] | None = None
        tables: npt.NDArray[np.uint8] | None = None
        count = len(positions)
        for step in self._steps:
            if step.form == "apply":
                continue
            sizes = extents if matrices is None else room(extents, matrices, input_size)
            parameters = step.augment.draw(Key(seed, epoch, positions, step.purpose), sizes)
            if step.form == "matrix":
                matrix = _checked_matrix(step.name, step.augment.matrix(parameters, input_size), count)
                # The last augmentation is nearest to the output, and a matrix leads back from there.
                matrices = matrix if matrices is None else matrices @ matrix
            else:
                table = _checked_table(step.name, step.augment.table(parameters), count)
                tables = table if tables is None else _then(tables, table)
        return Drawn(matrices, tables)

    def draw_applied(
        self, seed: int, epoch: int, positions: npt.NDArray[np.int64], extents: npt.NDArray[np.int64]
    ) -> list[Parameters]:
        """Draws for the augmentations with ``apply``: of one micro-batch, because it may mix its samples."""
        return [
            cast("Parameters", step.augment.draw(Key(seed, epoch, positions, step.purpose), extents))
            for step in self._steps
            if step.form == "apply"
        ]

    def apply(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        drawn: Sequence[Parameters],
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Runs every ``apply``, and every ``weigh`` where the samples have weights.

        Args:
            images: uint8 [B, C, H, W], one micro-batch, on any device; may be overwritten.
            targets: int64 [B] or float [B, K] on the same device.
            drawn: :meth:`draw_applied` of the micro-batch.
            weights: float32 [B] on the same device, the samples' own weights, or None.

        Returns:
            images, targets and weights; targets may have become float [B, K].

        Raises:
            PluginError: a result has a wrong shape or type.
        """
        steps = [step for step in self._steps if step.form == "apply"]
        for step, parameters in zip(steps, drawn, strict=True):
            shape = images.shape
            images, targets = step.augment.apply(images, targets, parameters)
            if images.dtype != torch.uint8 or images.shape != shape:
                given = f"{images.dtype} {list(images.shape)}"
                raise _broken(step.name, f"apply gave images {given}, not uint8 {list(shape)}")
            if targets.shape[0] != shape[0] or targets.ndim != (2 if targets.is_floating_point() else 1):
                raise _broken(step.name, f"apply gave targets {targets.dtype} {list(targets.shape)}, not [B] or [B, K]")
            if weights is not None and hasattr(step.augment, "weigh"):
                weights = step.augment.weigh(weights, parameters)
                if weights.shape != shape[:1] or not weights.is_floating_point():
                    raise _broken(step.name, f"weigh gave {weights.dtype} {list(weights.shape)}, not float [B]")
        return images, targets, weights


def look_up(images: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """Grey levels through tables.

    Args:
        images: uint8 [B, C, H, W] on any device, in any memory format.
        tables: uint8 [B, 1 or C, 256] on the same device.

    Returns:
        uint8 [B, C, H, W], channels_last in memory where ``images`` is.
    """
    batch, rows = tables.shape[:2]
    first = torch.arange(batch * rows, dtype=torch.int32, device=images.device).view(batch, rows, 1, 1) * 256
    index = images.to(torch.int32) + first  # keeps the memory format
    dense = index.permute(0, 2, 3, 1) if index.is_contiguous(memory_format=torch.channels_last) else index
    levels = tables.reshape(-1).index_select(0, dense.reshape(-1)).view(dense.shape)
    return levels if dense is index else levels.permute(0, 3, 1, 2)


def _step(place: int, name: str, augment: Any) -> _Step:
    always = bool(getattr(augment, "always", False))
    if always and getattr(augment, "soft_targets", False):
        raise ConfigError(
            f"augment {name!r} belongs to the preparation and makes soft targets, which only training has",
            f"option --augment {name}",
            "leave it out",
        )
    return _Step(name, augment, _form(name, augment), f"augment/{place}/{name}", always)


def _form(name: str, augment: Any) -> Form:
    forms: tuple[Form, ...] = ("matrix", "table", "apply")
    found = [form for form in forms if callable(getattr(augment, form, None))]
    if len(found) != 1 or not callable(getattr(augment, "draw", None)):
        raise _broken(name, f"it must have draw and one of matrix, table, apply; it has {', '.join(found) or 'none'}")
    return found[0]


def _broken(name: str, what: str) -> PluginError:
    return PluginError(f"augment {name!r} breaks its contract: {what}", "", "see clsfit.contracts.Augment")


def _checked_matrix(name: str, value: Any, count: int) -> npt.NDArray[np.float64]:
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.shape != (count, 3, 3) or not np.isfinite(matrix).all():
        raise _broken(name, f"matrix gave {list(matrix.shape)}, not {[count, 3, 3]} finite numbers")
    return matrix


def _checked_table(name: str, value: Any, count: int) -> npt.NDArray[np.uint8]:
    table = np.asarray(value)
    if table.dtype != np.uint8 or table.ndim not in (2, 3) or (table.shape[0], table.shape[-1]) != (count, 256):
        given = f"{table.dtype} {list(table.shape)}"
        raise _broken(name, f"table gave {given}, not uint8 {[count, 256]} or [{count}, C, 256]")
    return cast("npt.NDArray[np.uint8]", table if table.ndim == 3 else table[:, None])


def _then(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The table of looking up in ``first``, then in ``second``; each [N, 1 or C, 256]."""
    rows = max(first.shape[1], second.shape[1])
    shape = (len(first), rows, 256)
    index = np.broadcast_to(first, shape).astype(np.intp)
    return np.take_along_axis(np.broadcast_to(second, shape), index, axis=2)
