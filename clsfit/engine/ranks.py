"""Whether a run is trained by one process or by several: a value that the run holds.

:class:`Alone` is one process. What several do is in ``engine/group.py``. The loop asks either the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from clsfit.engine.sums import Sums
from clsfit.pipeline.batches import Bounds, Window
from clsfit.pipeline.loader import Share
from clsfit.storage.checkpoints import Checkpoint

if TYPE_CHECKING:
    from clsfit.engine.run import Run

Reduce = Callable[[list[torch.Tensor], Window], list[torch.Tensor]]
"""Adds up gradients over all ranks, in place; from a step's own losses (scalars) makes those of all ranks."""


class Ranks(Protocol):
    """The processes that train a run, as one of them sees them.

    What is said to be of all ranks is the same on each, to the bit; every rank has to ask for it at the same place.

    Attributes:
        rank: from 0; 0 is the one that writes files and speaks.
        world_size: how many there are.
    """

    rank: int
    world_size: int

    @property
    def share(self) -> Share | None:
        """What of a training batch is this rank's; None: all of it."""

    def seed(self, seed: int) -> int:
        """Of what layers draw by themselves, such as dropout: another one on every rank."""

    def own(self, windows: Sequence[Window]) -> Sequence[Window]:
        """Optimizer steps with this rank's parts of the micro-batches; the samples are those of all ranks."""

    def turns(self, bounds: Sequence[Bounds]) -> list[Bounds]:
        """The batches that this rank judges, of those of a validation."""

    def level(self, run: Run) -> None:
        """Gives every rank the weights of rank 0."""

    def reducer(self, run: Run) -> Reduce | None:
        """What follows the gradients of each step of an epoch; None: nothing has to."""

    def merged(self, sums: Sums, fresh: Callable[[], Sums]) -> Sums:
        """The sums of all ranks; ``sums`` may stay as it is, or be what is returned."""

    def agreed(self, run: Run) -> bool:
        """Whether any rank was asked to save or to end; all know of what, then."""

    def settle(self, run: Run) -> None:
        """Makes known to all what one was asked: to save, to end, by a signal or a callback."""

    def same(self, saved: Checkpoint | None) -> Checkpoint | None:
        """The checkpoint that rank 0 has found, for all."""

    def alike(self, told: str) -> bool:
        """Whether every rank says the same."""

    def meet(self) -> None:
        """Returns when every rank is here."""


class Alone:
    """One process."""

    rank, world_size = 0, 1

    @property
    def share(self) -> None:
        """See :class:`Ranks`."""

    def seed(self, seed: int) -> int:
        """See :class:`Ranks`."""
        return seed

    def own(self, windows: Sequence[Window]) -> Sequence[Window]:
        """See :class:`Ranks`."""
        return windows

    def turns(self, bounds: Sequence[Bounds]) -> list[Bounds]:
        """See :class:`Ranks`."""
        return list(bounds)

    def level(self, run: Run) -> None:
        """See :class:`Ranks`."""

    def reducer(self, run: Run) -> None:
        """See :class:`Ranks`."""

    def merged(self, sums: Sums, fresh: Callable[[], Sums]) -> Sums:
        """See :class:`Ranks`."""
        return sums

    def agreed(self, run: Run) -> bool:
        """See :class:`Ranks`."""
        if run.interrupt or run.save_told or run.save_due or run.stop_reason:
            self.settle(run)
            return True
        return False

    def settle(self, run: Run) -> None:
        """See :class:`Ranks`."""
        run.leaving, run.save_due = run.interrupt, run.save_due or run.save_told

    def same(self, saved: Checkpoint | None) -> Checkpoint | None:
        """See :class:`Ranks`."""
        return saved

    def alike(self, told: str) -> bool:
        """See :class:`Ranks`."""
        return True

    def meet(self) -> None:
        """See :class:`Ranks`."""
