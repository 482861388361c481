"""Checks of what decides which pictures a model sees, and how: samplers, augmentations; and a small data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsfit.testing.common import Factory, made, require


def draw_pictures(folder: str | Path, counts: Mapping[str, int] | None = None, size: int = 8, seed: int = 0) -> Path:
    """Draws a data set: a folder per class with grey PNG pictures that a small model can tell apart.

    Args:
        folder: is made where it does not exist.
        counts: pictures of each class; by default 20 of ``bars``, 14 of ``dots``, 8 of ``rings``.
        size: height and width in pixels.
        seed: the same seed draws the same pictures.

    Returns:
        ``folder``, for ``clsfit train``.
    """
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    for k, (name, count) in enumerate((counts or {"bars": 20, "dots": 14, "rings": 8}).items()):
        place = Path(folder) / name
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(0, 120, (size, size), dtype=np.uint8)
            pixels[k % size :: 3] += 100
            Image.fromarray(pixels).save(place / f"{i:03}.png")
    return Path(folder)


def check_sampler(factory: Factory, **options: Any) -> None:
    """Checks a sampler: positions in the set, as many in each epoch, the same when asked again.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Sampler`.
    """
    import numpy as np

    targets = np.arange(30) % 3
    filled = {"num_classes": 3, "class_counts": (10, 10, 10)}
    sampler = made(factory, options, **filled)
    orders = [sampler.order(epoch, targets) for epoch in range(3)]
    for order in orders:
        require(
            isinstance(order, np.ndarray) and order.ndim == 1 and order.dtype == np.int64,
            "an order is a one-dimensional int64 array",
        )
        require(len(order) == len(orders[0]) > 0, "every epoch has the same number of positions, more than none")
        require(bool((order >= 0).all() and (order < 30).all()), "positions index the targets")
    again = made(factory, options, **filled).order(2, targets)
    require(np.array_equal(again, orders[2]), "asked again, an epoch has another order: draw by clsfit.keyed only")


def check_augment(factory: Factory, *, input_size: tuple[int, int] = (12, 16), **options: Any) -> None:
    """Checks an augmentation: keyed draws, and what its one form returns.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Augment`.
    """
    import numpy as np
    import torch

    from clsfit.keyed import Key

    augment = made(factory, options, input_size=input_size)
    forms = [form for form in ("matrix", "table", "apply") if hasattr(augment, form)]
    require(len(forms) == 1, f"it has exactly one of matrix, table and apply, not {forms}")
    positions, sizes = np.arange(40), np.tile(np.array(input_size) + 4, (40, 1))
    drawn = augment.draw(Key(7, 2, positions, "check"), sizes)
    require(
        isinstance(drawn, Mapping) and all(len(value) == 40 for value in drawn.values()),
        "draw() returns arrays whose first axis is the sample",
    )
    again = augment.draw(Key(7, 2, positions, "check"), sizes)
    same = all(np.array_equal(drawn[name], again[name]) for name in drawn)
    require(same, "the same key draws something else: take all randomness from key")
    if getattr(augment, "always", False):
        other = augment.draw(Key(8, 0, positions, "check"), sizes)
        require(
            all(np.array_equal(drawn[name], other[name]) for name in drawn),
            "what is always applied leaves nothing to chance: another key draws something else",
        )
    if forms == ["matrix"]:
        matrix = np.asarray(augment.matrix(drawn, input_size))
        good = matrix.shape == (40, 3, 3) and matrix.dtype == np.float64 and bool(np.isfinite(matrix).all())
        require(good, f"matrix() returns finite float64 (40, 3, 3), not {matrix.dtype} {matrix.shape}")
    elif forms == ["table"]:
        table = np.asarray(augment.table(drawn))
        good = table.dtype == np.uint8 and table.ndim in {2, 3} and (len(table), table.shape[-1]) == (40, 256)
        require(good, f"table() returns uint8 (40, 256) or (40, C, 256), not {table.dtype} {table.shape}")
    else:
        images = torch.randint(0, 256, (40, 3, *input_size), dtype=torch.uint8)
        changed, targets = augment.apply(images.clone(), torch.arange(40) % 4, drawn)
        require(changed.shape == images.shape and changed.dtype == torch.uint8, "apply() keeps the pictures' form")
        hard = targets.ndim == 1 and targets.dtype == torch.int64
        require(len(targets) == 40 and (hard or targets.is_floating_point()), "targets are int64 [B] or float [B, K]")
        require(hard or getattr(augment, "soft_targets", False), "soft targets are announced by soft_targets = True")
