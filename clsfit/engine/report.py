"""What a run says: finished lines on stderr and in log.txt, a bar only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

from clsfit.errors import printable

T = TypeVar("T")

_BAR = "{l_bar}{bar}{r_bar}\r"
"""The cursor waits at the line's beginning: at its end, the ``^C`` that a terminal shows would begin a new line."""


class Reporter:
    """Writes lines and shows bars.

    Args:
        verbosity: -1 says nothing, 0 warnings only, 1 is normal, 2 adds details.
        log: also gets every line, details included.
    """

    def __init__(self, verbosity: int = 1, log: Callable[[str], None] | None = None) -> None:
        self.verbosity, self.log = verbosity, log
        self._bar: Any = None

    def say(self, line: str, detail: bool = False) -> None:
        """One line for the reader; a ``detail`` is shown with ``-v`` only."""
        line = printable(line)
        if self.log is not None:
            self.log(line)
        if self.verbosity > (1 if detail else -1 if line.startswith("warning: ") else 0):
            try:
                tqdm.write(line, file=sys.stderr)
            except (OSError, ValueError):  # nobody listens any more: that ends no run, and the log has every line
                self.verbosity = -1

    def bar(self, items: Iterable[T], total: int, label: str, unit: str = "step", done: int = 0) -> Iterator[T]:
        """``items``, with a bar while standard error is a terminal; drawn by time, not by item."""
        if self.verbosity < 1 or not sys.stderr.isatty():
            return iter(items)
        self._bar = tqdm(
            items,
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            leave=False,
            dynamic_ncols=True,
            bar_format=_BAR,
            mininterval=0.5,
            file=sys.stderr,
        )
        return iter(self._bar)

    def close_bar(self) -> None:
        """Wipes a bar that an exception has left on the terminal."""
        if self._bar is not None:
            self._bar.close()


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """The one finished line of an epoch: losses, metrics, learning rate, speed, time."""
    shown = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    shown += [f"{key} {number(value)}" for key, value in row.items() if "/" in key]
    shown += [
        f"lr {row['lr']:.3g}",
        f"{row['train_images_per_second']:,.0f} pictures/s",
        f"{row['seconds']:.1f} s",
    ]
    return "  ".join(shown)


def number(value: float | None) -> str:
    """Four decimals, or n/a where it is undefined."""
    return "n/a" if value is None else f"{value:.4f}"
