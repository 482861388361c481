"""How much the loss of a sample of each class counts, by the numbers of training pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

import numpy as np
import numpy.typing as npt

from clsfit.errors import ConfigError, printable

_OPTION = "option --loss.class_weights"
_BETA = 0.999  # one of those that the paper tries

Wish = Literal["balanced", "effective", "sqrt"] | Mapping[str, float] | None


def imbalance_ratio(counts: Iterable[int]) -> float:
    """The largest of the classes' numbers of pictures over the smallest that is not 0; 1 where all are."""
    numbers = [number for number in counts if number]
    return max(numbers) / min(numbers) if numbers else 1.0


def effective_numbers(counts: npt.ArrayLike, beta: float) -> npt.NDArray[np.float64]:
    """How many pictures n pictures of a class are worth, where new ones more and more resemble the old.

    ``(1 - beta**n) / (1 - beta)``: 1 for n = 1, and n where beta is near 1; Cui et al. 2019,
    https://arxiv.org/abs/1901.05555.

    Args:
        counts: [K] numbers of pictures, >= 0.
        beta: in [0, 1).
    """
    # 1 - beta**n, without losing what is left of it where beta is near 1
    numbers = np.asarray(counts, dtype=np.float64)
    if beta == 0:
        return np.minimum(numbers, 1.0)
    effective: npt.NDArray[np.float64] = -np.expm1(numbers * math.log(beta)) / (1 - beta)
    return effective


def class_weights(wish: Wish, classes: Sequence[str], counts: Sequence[int]) -> npt.NDArray[np.float64] | None:
    """The weight of each class, by which the core multiplies the loss of its samples.

    By the number n of a class's training pictures, weights are one over

    - ``balanced``: n. All classes then weigh the same together; it is scikit-learn's N / (K n) for K classes with
      N training pictures.
    - ``effective``: the :func:`effective_numbers` with a beta of 0.999. Between classes of more than some thousand
      pictures it makes no difference any more.
    - ``sqrt``: the square root of n, half way between ``balanced`` and no weights.

    times what makes their mean over the training pictures 1. A class without training pictures weighs 1.

    Args:
        wish: one of these, or weights >= 0 by class name, where all others weigh 1; None weighs nothing.
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
    numbers = numbers[present]
    if wish == "balanced":
        sizes = numbers
    else:
        sizes = effective_numbers(numbers, _BETA) if wish == "effective" else np.sqrt(numbers)
    weights[present] = numbers.sum() / (sizes * (numbers / sizes).sum())
    return weights


def _shown(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
