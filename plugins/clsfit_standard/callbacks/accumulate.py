"""Larger batches than memory holds."""

from __future__ import annotations


class Accumulate:
    """Asks the core for one optimizer step per ``steps`` batches.

    The gradient is that of the mean loss over all samples of the window, as of one big batch (batch
    normalisation apart, which sees each batch by itself).

    Args:
        steps: batches per optimizer step, >= 1.
    """

    def __init__(self, steps: int) -> None:
        self.accumulate = steps
