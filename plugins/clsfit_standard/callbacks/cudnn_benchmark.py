"""Kernels chosen by trying them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clsfit import hookimpl
from clsfit.errors import ConfigError

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class CudnnBenchmark:
    """Lets cuDNN try its kernels for each size of batch, and keep the fastest (``torch.backends.cudnn.benchmark``).

    It is a timing that chooses, and another kernel rounds otherwise: with it two runs of one command, or a run that
    was resumed, may differ in the last bits. torch's setting is put back at the end of the run.
    """

    graph_safe = True  # kernels are tried in the steps before a graph is captured

    def __init__(self) -> None:
        self._before: bool | None = None

    def check(self, run: Run) -> None:
        """Refuses devices on which it would do nothing."""
        if run.device.type != "cuda":
            raise ConfigError(
                f"callback 'cudnn_benchmark' is for CUDA, and this run is on {run.device}",
                "option --callback cudnn_benchmark",
                "leave it out",
            )

    @hookimpl
    def on_fit_start(self) -> None:
        self._before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True

    @hookimpl
    def on_fit_end(self) -> None:
        if self._before is not None:
            torch.backends.cudnn.benchmark = self._before
