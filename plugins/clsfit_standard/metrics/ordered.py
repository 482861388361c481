"""Errors on ordered classes: how far the predicted class lies from the true one.

A class's value is its number where all class names are numbers, and its place in ``order`` where that
is given, from 0. A sample without a prediction counts as the class that is farthest from its own.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clsfit.errors import ConfigError, printable
from clsfit_standard.metrics.counts import predictions
from clsfit_standard.metrics.kept import PairMean

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SHOWN = 10


def class_values(metric: str, class_names: Sequence[str], order: Sequence[str] | None) -> npt.NDArray[np.float64]:
    """The value [K] of each class.

    Args:
        metric: its name, for messages.
        class_names: in the order of the logits.
        order: all of them from lowest to highest; None: the names are numbers.

    Raises:
        ConfigError: a name is no number, or ``order`` does not name every class exactly once.
    """
    option = f"option --metric.{metric}.order"
    remedy = f"give all classes from lowest to highest, separated by commas; they are {_listed(class_names)}"
    if order is not None:
        if problems := _problems(class_names, order):
            raise ConfigError(f"the order must name every class once: {'; '.join(problems)}", option, remedy)
        place = {name: float(i) for i, name in enumerate(order)}
        return np.array([place[name] for name in class_names])
    if words := [name for name in class_names if not _is_number(name)]:
        raise ConfigError(
            f"metric {metric!r} needs an order of the classes, as not all names are numbers: {_listed(words)}",
            option,
            remedy,
        )
    return np.array([float(name) for name in class_names])


def _is_number(name: str) -> bool:
    return bool(_NUMBER.fullmatch(name)) and math.isfinite(float(name))


def _problems(class_names: Sequence[str], order: Sequence[str]) -> list[str]:
    """What is wrong with an order, in a few words each."""
    counts = Counter(order)
    missing = [name for name in class_names if name not in counts]
    found = []
    if unknown := [name for name in counts if name not in set(class_names)]:
        near = difflib.get_close_matches(unknown[0], missing or class_names, 1)
        found.append(f"unknown {_listed(unknown)}" + (f" (did you mean {printable(near[0])!r}?)" if near else ""))
    if missing:
        found.append(f"missing {_listed(missing)}")
    if twice := [name for name, count in counts.items() if count > 1]:
        found.append(f"more than once {_listed(twice)}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name) for name in names[:_SHOWN]) + more


class MeanAbsoluteError(PairMean):
    """Mean absolute difference between the values of predicted and true class, in the values' unit.

    Per class: over the samples of that class.

    Args:
        class_names: K names, in the order of the logits.
        order: all class names from lowest to highest: the values are then 0 to K - 1; None: the names
            are numbers, and the values.

    Raises:
        ConfigError: there is no order, or it does not name every class exactly once.
    """

    higher_is_better = False
    name = "mae"

    def __init__(self, class_names: tuple[str, ...], order: tuple[str, ...] | None = None) -> None:
        super().__init__(len(class_names))
        self.values = class_values(self.name, class_names, order)

    def _found(self, logits: Tensor, targets: Tensor) -> Tensor:
        return predictions(logits, self.num_classes)

    def _values(self, targets: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        true = self.values[targets]
        distance = np.abs(self.values[np.minimum(found, self.num_classes - 1)] - true)
        farthest = np.maximum(self.values.max() - true, true - self.values.min())
        return self._error(np.where(found < self.num_classes, distance, farthest))

    def _error(self, distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What a distance >= 0 counts."""
        return distance


class MeanSquaredError(MeanAbsoluteError):
    """Mean squared difference between the values of predicted and true class, in their unit squared.

    Per class: over the samples of that class.

    Args:
        class_names: K names, in the order of the logits.
        order: as for :class:`MeanAbsoluteError`.

    Raises:
        ConfigError: as :class:`MeanAbsoluteError`.
    """

    name = "mse"

    def _error(self, distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return distance**2


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error over all samples, in the values' unit; no mean of batches' roots.

    Per class: the root over the samples of that class.

    Args:
        class_names: K names, in the order of the logits.
        order: as for :class:`MeanAbsoluteError`.

    Raises:
        ConfigError: as :class:`MeanAbsoluteError`.
    """

    name = "rmse"

    def _mean(self, values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> float | None:
        mean = super()._mean(values, counts)
        return None if mean is None else math.sqrt(mean)
