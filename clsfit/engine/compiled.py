"""Steps whose model ``torch.compile`` has translated. The run's model stays the plain module."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clsfit.engine.divergence import Watch
from clsfit.engine.step import Forward, Way, called
from clsfit.errors import ConfigError, ResourceError
from clsfit.pipeline.loader import Batch

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_REMEDY = "use --step eager"


class Compiled:
    """Forward and backward of the model are compiled in the first step; everything else is as in eager steps.

    Names and states are the plain model's, since nothing but the training step calls the compiled one.
    A micro-batch of another size than the epoch's first, which only the last one has, is computed by
    the plain model: it would be compiled a second time for one batch in an epoch.
    """

    name = "compile"

    def __init__(self, run: Run) -> None:
        self._plain, self._size = run.model, full_size(run)
        # Kernels for the CPU are compiled for a number of threads, on which their sums depend.
        options: dict[str, Any] = {"cpp.threads": torch.get_num_threads()} if run.device.type == "cpu" else {}
        torch.compiler.reset()  # or what this process compiled before would count against dynamo's limits
        self._fast = torch.compile(run.model, dynamic=False, options=options or None)

    def begin(self, run: Run, watch: Watch, batches: Iterator[Batch]) -> tuple[Forward, Way]:
        """See :class:`clsfit.engine.step.Mode`."""
        return self.forward, called(run, watch, batches)

    def explained(self, error: BaseException) -> BaseException:
        """See :class:`clsfit.engine.step.Mode`."""
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import CppCompileError

        if not isinstance(error, TorchDynamoException | CppCompileError):
            return error
        reason = next(iter(str(error).splitlines()), "")
        return ConfigError(
            f"torch.compile fails on this model: {type(error).__name__}: {reason}", "option --step", _REMEDY
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of ``images`` [B, C, H, W]."""
        logits: torch.Tensor = self._fast(images) if len(images) == self._size else self._plain(images)
        return logits


def full_size(run: Run) -> int:
    """The number of samples that this rank has of a micro-batch that is not cut short by the epoch's end."""
    whole, share = run.windows[0].bounds[0], run.ranks.share
    start, stop = whole if share is None else share(whole) or (0, 0)
    return stop - start


def check_tools(device: torch.device) -> None:
    """Whether the machine has what ``torch.compile`` needs for ``device``.

    Raises:
        ConfigError: it has nothing for that kind of device.
        ResourceError: a compiler, Python's headers or Triton are missing.
    """
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"--step compile is for CPU and CUDA, and this run is on {device}", "option --step", _REMEDY)
    missing = _missing_for_cpu() if device.type == "cpu" else _missing_for_cuda()
    if missing:
        raise ResourceError(f"torch.compile needs {missing[0]}", "option --step", f"{missing[1]}, or {_REMEDY}")


def _missing_for_cpu() -> tuple[str, str] | None:
    """What torch's compiler for the CPU needs and does not find, and what to do."""
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    if not _found(os.environ.get("CXX", usual)):
        return f"a C++ compiler, and there is no {os.environ.get('CXX', usual)}", "install one, or name it in CXX"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers, and there is no Python.h", "install them (package python3-dev)"
    return None


def _missing_for_cuda() -> tuple[str, str] | None:
    """What Triton needs, and Triton itself."""
    if importlib.util.find_spec("triton") is None:
        return "Triton, which is not installed", "python -m pip install triton"
    if not any(_found(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return "a C compiler, and there is none", "install one, or name it in CC"
    return None


def _found(command: str) -> bool:
    words = shlex.split(command)
    return bool(words) and shutil.which(words[0]) is not None
