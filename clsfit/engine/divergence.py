"""A non-finite loss or gradient never reaches the weights, and the run says which step and files."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from clsfit.errors import DivergedError, ResourceError, printable

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_READ_EVERY = 50  # steps between two readings where the optimizer takes the flag on the device


class Watch:
    """Guards the optimizer of one epoch.

    An optimizer that takes the flag (torch's ``_step_supports_amp_scaling``) skips a bad step on the
    device, and flags are read together now and then. For any other the flag is read before each
    step, which waits for an accelerator and costs nothing on a CPU.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.on_device = bool(getattr(run.optimizer, "_step_supports_amp_scaling", False))
        self._flags: list[torch.Tensor] = []
        self._first = run.step

    def may_step(self) -> bool:
        """Whether to call the optimizer for the run's step, whose flags were just set.

        Raises:
            DivergedError: a flag was read, and a loss or gradient is not finite.
        """
        if not self.on_device:
            return not self.overflowed()
        self.arm()
        self.note(self.run.precision.diverged)
        return True

    def arm(self) -> None:
        """Gives the optimizer the flag that was just set: on it, its next update changes nothing."""
        # a scalar, as from torch's GradScaler: fused kernels subtract it from their count of steps
        self.run.optimizer.found_inf = self.run.precision.found.reshape(())  # type: ignore[attr-defined]
        self.run.optimizer.grad_scale = None  # type: ignore[attr-defined]

    def note(self, flag: torch.Tensor) -> None:
        """Keeps ``flag``, float32 [1], of the run's step, and reads what has gathered now and then.

        Raises:
            DivergedError: a flag was read, and a loss or gradient is not finite.
        """
        self._flags.append(flag)
        if len(self._flags) >= _READ_EVERY:
            self.read(self.run.step + 1)

    def overflowed(self) -> bool:
        """Whether the gradients that were just checked are too large for fp16's scale; waits for the device.

        Raises:
            DivergedError: the scale does not explain it.
        """
        if self.run.precision.found.item() == 0:
            self.run.precision.reuse()
            return False
        if self.run.precision.diverged.item() != 0:
            self._fail(self.run.step)
        return True

    def read(self, next_step: int) -> None:
        """Reads the flags that have gathered; the next one will be of ``next_step``."""
        flags, first = self._flags, self._first
        self._flags, self._first = [], next_step
        if flags:
            bad = torch.cat(flags).nonzero().flatten().tolist()
            if bad:
                self._fail(first + bad[0])

    def _fail(self, step: int) -> None:
        paths = [self.run.train.paths[row] for row in self.run.rows_of(step)]
        shown = ", ".join(printable(path) for path in paths[:8])
        more = f" and {len(paths) - 8} more (all in log.txt)" if len(paths) > 8 else ""
        error = DivergedError(
            f"the loss or a gradient is not finite at step {step + 1} (epoch {self.run.epoch + 1})",
            f"its pictures: {shown}{more}",
            "the weights before that step are kept; lower --optimizer.lr, or look at these pictures",
        )
        error.step, error.pictures, error.shared = step + 1, tuple(paths), True
        with suppress(ResourceError):  # a full disk must not hide it
            note(self.run, error)
        raise error


def note(run: Run, error: DivergedError) -> None:
    """Writes every picture of the step that diverged to log.txt."""
    if run.directory is not None:
        run.directory.log.append(f"not finite at step {error.step}: {', '.join(map(printable, error.pictures))}")
