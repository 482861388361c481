"""Going on after a divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsfit.engine.run import Run
    from clsfit.errors import DivergedError


class Rollback:
    """Returns to the newest good checkpoint with a lower learning rate where a loss or gradient is not finite.

    Each return multiplies the rates of the rest of the run, whatever the scheduler, by ``factor``. It is
    told, written to log.txt, and listed in summary.json under ``rollbacks``.

    Args:
        factor: in (0, 1).
        times: returns in a whole run, >= 1; one more divergence ends it with exit 6.
    """

    def __init__(self, factor: float = 0.5, times: int = 3) -> None:
        self.factor, self.times = factor, times

    def recover(self, run: Run, error: DivergedError) -> bool:
        """Rolls ``run`` back; returns whether it goes on."""
        if len(run.rollbacks) >= self.times:
            run.say(f"rollback: all {self.times} returns of this run are used up")
            return False
        run.roll_back(error, self.factor)
        return True
