"""What a benchmark finds, and its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TIERS = ("resident", "memory", "disk", "stream")
"""Where prepared pictures may lie, as users read of it: the fastest first."""

_STEADY = 1.5  # the fastest stretch over the slowest


@dataclass(frozen=True)
class Pace:
    """A speed, measured over several stretches of time. All rates are pictures per second.

    Attributes:
        rate: the median of the stretches.
        low: the slowest stretch.
        high: the fastest stretch.
        stretches: how many there were, at least 1.
    """

    rate: float
    low: float
    high: float
    stretches: int

    def beats(self, other: Pace, times: float = 1.0) -> bool:
        """Whether it is at least ``times`` as fast as ``other``, and not by chance: no stretch of it is slower."""
        return self.rate >= times * other.rate and self.low > other.high


@dataclass(frozen=True)
class Tier:
    """How fast pictures come from one tier, when nothing else is done.

    Attributes:
        possible: whether this data can be there; if not, there are no rates.
        chosen: whether ``train`` would take it, with the same options.
        why: why it is not possible, or what is to be known about it; one line.
        first_epoch: pictures per second where each is decoded once, and put where it stays.
        later_epochs: from there on.
    """

    possible: bool
    chosen: bool
    why: str
    first_epoch: float | None = None
    later_epochs: Pace | None = None


@dataclass(frozen=True)
class Trial:
    """The hand-written loop with one thing changed.

    Attributes:
        change: the option, as it is written: ``--batch-size 64``.
        pace: how fast it is.
    """

    change: str
    pace: Pace


@dataclass(frozen=True)
class Advice:
    """What to change.

    Attributes:
        change: the option as it is written, a few words where there is none, or ``nothing``.
        tier: the tier that it is about.
        why: the figures that it follows from, one line.
    """

    change: str
    tier: str
    why: str


@dataclass(frozen=True)
class Benchmark:
    """Where the time of a training run goes.

    Attributes:
        setting: what was measured: pictures, input, device, batch size, threads and so on.
        tiers: by name, in the order of :data:`TIERS`.
        step: training steps on one batch that is there already.
        whole: training as ``train`` does it, waiting for pictures included.
        waiting: the part of the training time in which it waits for pictures, 0 to 1.
        ceiling: a loop written by hand in torch, on one batch; None where ``ceiling_is`` says why not.
        ceiling_is: what that loop's optimizer is.
        trials: the same loop with another batch size or number of threads.
        advice: what to change, the most useful first; never empty.
    """

    setting: Mapping[str, Any]
    tiers: Mapping[str, Tier]
    step: Pace
    whole: Pace
    waiting: float
    ceiling: Pace | None
    ceiling_is: str
    trials: tuple[Trial, ...] = ()
    advice: tuple[Advice, ...] = field(default=())

    @property
    def chosen(self) -> str:
        """The tier that ``train`` would take."""
        return next(name for name, tier in self.tiers.items() if tier.chosen)

    @property
    def steady(self) -> bool:
        """Whether the machine was quiet: stretches of one measurement took about the same time."""
        paces = [self.tiers[self.chosen].later_epochs, self.step, self.whole, self.ceiling]
        return all(pace.high <= _STEADY * pace.low for pace in paces if pace is not None)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; ``chosen`` and ``steady`` stand beside the attributes."""
        return {**asdict(self), "setting": dict(self.setting), "chosen": self.chosen, "steady": self.steady}
