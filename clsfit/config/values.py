"""Plain values, each with the place where it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it was written.

    Attributes:
        raw: a scalar, a list of values, or a dict from str to values.
        where: ``base.yaml:3``, ``--loss.gamma``, ``CLSFIT_EPOCHS``.
    """

    raw: Any
    where: str

    def plain(self) -> Any:
        """The value with all values inside it unwrapped."""
        if isinstance(self.raw, dict):
            return {key: value.plain() for key, value in self.raw.items()}
        return [value.plain() for value in self.raw] if isinstance(self.raw, list) else self.raw


def wrap(raw: Any, where: str) -> Value:
    """``raw`` and everything inside it as values from one place."""
    if isinstance(raw, dict):
        return Value({str(key): wrap(value, where) for key, value in raw.items()}, where)
    if isinstance(raw, list | tuple):
        return Value([wrap(value, where) for value in raw], where)
    return Value(raw, where)
