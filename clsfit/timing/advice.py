"""What to change, from figures alone. No torch here."""

from __future__ import annotations

from collections.abc import Iterator

from clsfit.timing.places import CACHE_OF
from clsfit.timing.results import Advice, Benchmark, Pace

WAITING = 0.1
"""From this part of the time on, training is said to wait for pictures."""

_SLOWED = 0.85  # of the step's own speed; below it pictures cost too much although nothing waits
_WORTH = 1.15  # times as fast is worth a change
_AS_GOOD = 0.9  # of the best tier's speed
_PLENTY = 5.0  # times what the step could take: faster than that no tier needs to be
_PLAIN = 0.85  # of the hand-written loop's speed; below it, what the loop does beside the step costs too much


def advise(found: Benchmark) -> tuple[Advice, ...]:
    """The changes that would help ``found``, the most useful first; at least one, which may be ``nothing``."""
    if found.waiting >= WAITING or _slowed(found):
        return tuple(_for_data(found))
    return tuple(_for_step(found)) or (_nothing(found),)


def _slowed(found: Benchmark) -> bool:
    """Whether preparing pictures beside the step slows it down; resident ones are prepared between steps."""
    return found.chosen != "resident" and found.step.beats(found.whole, 1 / _SLOWED)


def _for_data(found: Benchmark) -> Iterator[Advice]:
    chosen, setting, here = found.chosen, found.setting, _later(found, found.chosen).rate
    costs = f"{found.waiting:.0%} of the time is waiting for pictures"
    if found.waiting < WAITING:
        costs = f"preparing pictures slows training to {found.whole.rate / found.step.rate:.0%} of the step's speed"
    given = f"{chosen} gives {here:,.0f} pictures/s, the step could take {found.step.rate:,.0f}"
    rates = {name: _later(found, name).rate for name, tier in found.tiers.items() if tier.possible}
    good = min(_AS_GOOD * max(rates.values()), _PLENTY * found.step.rate)
    better = [name for name, rate in rates.items() if rate >= max(_WORTH * here, good)]
    for name in better[:1]:
        yield Advice(f"--cache {CACHE_OF[name]}", name, f"{costs}; {name} gives {rates[name]:,.0f} pictures/s; {given}")
    if chosen != "resident" and setting["workers"] < setting["most_workers"]:
        why = f"{costs}; {setting['workers']} workers prepare pictures on {setting['cores']} cores; {given}"
        yield Advice(f"--workers {setting['most_workers']}", chosen, why)
    elif not better:
        shared = " on the same cores" if setting["device"] == "cpu" else ""
        change = "smaller pictures in the files, a smaller --input-size, or fewer --augment"
        yield Advice(change, chosen, f"{costs}, which are made{shared}; {given}")


def _later(found: Benchmark, name: str) -> Pace:
    pace = found.tiers[name].later_epochs
    assert pace is not None  # the tier is possible
    return pace


def _for_step(found: Benchmark) -> Iterator[Advice]:
    if found.ceiling is None:
        return
    chosen, ceiling = found.chosen, found.ceiling
    trials = [trial for trial in found.trials if trial.pace.beats(ceiling, _WORTH)]
    for trial in sorted(trials, key=lambda trial: -trial.pace.rate):
        faster = f"{trial.pace.rate / ceiling.rate:.1f} times as fast in the hand-written loop"
        rate = "; the best --optimizer.lr may be another" if trial.change.startswith("--batch-size") else ""
        yield Advice(trial.change, chosen, f"{faster}{rate}; {chosen} keeps up with the step")
    if ceiling.beats(found.step, 1 / _PLAIN):
        share = f"the step runs at {found.step.rate / ceiling.rate:.0%} of the hand-written loop"
        why = f"{share}: metrics, callbacks and checks are the rest"
        yield Advice("fewer --metric and --callback, or a larger --batch-size", chosen, f"{why}; {chosen} keeps up")


def _nothing(found: Benchmark) -> Advice:
    share = ""
    if found.ceiling is not None and found.steady:
        share = f", which runs at {found.step.rate / found.ceiling.rate:.0%} of the hand-written loop"
    why = f"{found.chosen} keeps up with the step{share}: only a cheaper model or other hardware is faster"
    return Advice("nothing", found.chosen, why)
