"""Class weights: how much the loss of a sample of each class counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

import numpy as np
import numpy.typing as npt

from clsfit.errors import ConfigError, printable

_OPTION = "option --loss.class_weights"


def class_weights(
    wish: Literal["balanced"] | Mapping[str, float] | None, classes: Sequence[str], counts: Sequence[int]
) -> npt.NDArray[np.float64] | None:
    """The weight of each class, by which the core multiplies the loss of its samples.

    ``balanced`` is N / (K n_c) for a class with n_c of the N training pictures, K being the number of
    classes that have any: all classes then weigh the same together, and the mean over the training
    pictures is 1. A class without training pictures weighs 1.

    Args:
        wish: ``balanced``, or weights >= 0 by class name, where all others weigh 1; None weighs nothing.
        classes: K names.
        counts: K numbers of training pictures.

    Returns:
        [K] float64, or None.

    Raises:
        ConfigError: a name that is no class, a weight that is not finite, or no weight above 0.
    """
    if wish is None:
        return None
    weights = np.ones(len(classes))
    if isinstance(wish, Mapping):
        for name, weight in wish.items():
            if name not in classes:
                close = get_close_matches(name, classes, 1)
                hint = f"Did you mean {printable(close[0])!r}?" if close else "its classes: " + _shown(classes)
                raise ConfigError(f"the data has no class {printable(name)!r}", _OPTION, hint)
            if not math.isfinite(weight):
                raise ConfigError(f"the weight of {printable(name)!r} is not finite", _OPTION, "give a number >= 0")
            weights[classes.index(name)] = weight
        if not any(weight > 0 and count for weight, count in zip(weights, counts, strict=True)):
            raise ConfigError("no training picture has a weight above 0", _OPTION, "give one class a weight at least")
        return weights
    numbers = np.array(counts, dtype=np.float64)
    present = numbers > 0
    weights[present] = numbers.sum() / (present.sum() * numbers[present])
    return weights


def _shown(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
