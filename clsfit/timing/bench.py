"""From a configuration to figures: the way that ``clsfit bench`` and :func:`clsfit.bench` go.

Nothing is kept: no run directory is made, and what lies in the cache directory meanwhile is gone afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clsfit import weights
from clsfit.config import Config
from clsfit.data import split_by
from clsfit.data.intake import Intake, take_in
from clsfit.data.processes import Decoders
from clsfit.data.threads import usable_cores, workers_of
from clsfit.data.tiers import estimate
from clsfit.errors import ResourceError
from clsfit.opening import columns_of, open_data, wishes_of
from clsfit.timing import places
from clsfit.timing.advice import advise
from clsfit.timing.meter import check_seconds, pace_of, waiting_of
from clsfit.timing.places import Place
from clsfit.timing.results import TIERS, Benchmark, Tier, Trial
from clsfit.timing.sample import sample
from clsfit.training import Control, settle

if TYPE_CHECKING:
    import torch

    from clsfit.timing.loops import Build

Say = Callable[[str], None]

_ROUNDS = 2


def bench_config(config: Config, seconds: float, say: Say) -> Benchmark:
    """Measures the run that ``config`` says, for about ``seconds`` at a time.

    Args:
        config: resolved.
        seconds: above 0, at most :data:`clsfit.timing.meter.LONGEST`.
        say: told what is being done.

    Raises:
        ClsfitError: as ``train`` with the same configuration.
    """
    check_seconds(seconds)
    config = weights.anchored(config)
    wanted = weights.preprocessing(config)
    config = weights.adopt(config, wanted)
    source, settings = open_data(config.data, columns_of(config.settings)), config.settings
    wishes = replace(wishes_of(settings), cache="off")
    divided = split_by.divide(
        source,
        source.table(),
        settings.split_by,
        groups=not (wishes.group or wishes.group_regex),
        lenient=settings.skip_bad,
    )
    some = sample(source, settings, seconds, divided.table)
    with ExitStack() as stack:
        say(f"reading {len(some.table()):,} of {len(source.table()):,} pictures")
        with Decoders(settings.start_method, workers_of(settings.workers)) as decoders:
            intake = take_in(some, replace(wishes, split_by=None), decoders=decoders)
        config = weights.adopt(config, wanted, intake.prepare.channels)
        kept = some.without(intake.left_out)
        everything = np.arange(len(source.table()))
        total = estimate(source, everything, intake.prepare).total
        found = places.fill(kept, intake, settings, total, stack, say)
        for place in found.values():
            if place.canvases is not None:
                place.canvases.times = len(everything) / max(1, len(kept.table()))
        chosen = places.preferred(settings.cache, total, found)
        config, reporter, device = settle(config, intake, Control(verbosity=0), None)
        builds = {
            name: partial(_run, config, replace(intake, canvases=place.canvases), device, reporter)
            for name, place in found.items()
            if place.canvases is not None
        }
        config = config.replace_settings(step=builds[chosen]().mode.name)
        tiers = _tiers(config, intake, device, found, builds, chosen, seconds, say)
        return _benchmark(config, intake, len(everything), tiers, builds[chosen], seconds, say)


def _run(config: Config, intake: Intake, device: torch.device, reporter: Any) -> Any:
    """A fresh run that saves nothing. Its weights are as drawn: others take the same time."""
    from clsfit.build import build_run

    return build_run(config, intake, device, reporter, None, starts=False)


def _tiers(
    config: Config,
    intake: Intake,
    device: torch.device,
    found: Mapping[str, Place],
    builds: Mapping[str, Build],
    chosen: str,
    seconds: float,
    say: Say,
) -> dict[str, Tier]:
    """The pace of every tier that is possible."""
    from clsfit.build import finish_of
    from clsfit.pipeline.resident import why_not
    from clsfit.timing.loops import data_pace

    finish = finish_of(config, intake)
    refused = {
        name: place.why if place.canvases is None else why_not(place.canvases, finish, device)
        for name, place in found.items()
    }
    # the same canvases are resident, or they are not
    absent = {name: "the pictures are resident" for name, why in refused.items() if not why}
    origins = {"resident": next((name for name in (chosen, *absent) if name in absent), "memory")}
    if not absent:
        absent["resident"] = refused["memory"]
    tiers = {}
    for name in TIERS:
        origin = origins.get(name, name)
        place = found[origin]
        if name in absent or place.canvases is None:
            tiers[name] = Tier(False, False, absent.get(name, place.why))
            continue
        say(f"pictures alone: {name}")
        pace = data_pace(builds[origin], seconds)
        first = 1 / (place.seconds + 1 / pace.rate)
        tiers[name] = Tier(True, origin == chosen, place.why, first, pace)
    return tiers


def _benchmark(
    config: Config,
    intake: Intake,
    pictures: int,
    tiers: Mapping[str, Tier],
    build: Build,
    seconds: float,
    say: Say,
) -> Benchmark:
    """Measures the loops in turn, again and again: what else the machine does then meets all of them."""
    from clsfit.timing.loops import hand_written, own_loop

    once, changes = seconds / _ROUNDS, _changes(config)
    step, whole, trials = [], [], defaultdict(list)
    for _ in range(_ROUNDS):
        say("training on one batch that is there already")
        step.append(own_loop(build, once, static=True))
        say("training")
        whole.append(own_loop(build, once, static=False))
        for change, more in changes.items():
            say(f"the hand-written loop{change and ' with '}{change}")
            try:
                meter, ceiling_is = hand_written(build, once, **more)
            except ResourceError:
                if not change:
                    raise
                continue  # twice the batch takes more memory than there is
            if meter is not None:
                trials[change].append(meter)
    paces = {change: pace_of(*meters) for change, meters in trials.items()}
    ceiling = paces.pop("", None)
    made = Benchmark(
        setting=_setting(config, intake, pictures, seconds),
        tiers=tiers,
        step=pace_of(*step),
        whole=pace_of(*whole),
        waiting=waiting_of(*whole),
        ceiling=ceiling,
        ceiling_is=ceiling_is,
        trials=tuple(Trial(change, pace) for change, pace in paces.items()),
    )
    return replace(made, advice=advise(made))


def _changes(config: Config) -> dict[str, dict[str, int]]:
    """What is tried in the hand-written loop: nothing, twice the batch, on a CPU all cores or one of several."""
    settings, cores = config.settings, usable_cores()
    changes = {"": {}, f"--batch-size {2 * settings.batch_size}": {"times": 2}}
    if settings.device == "cpu" and cores > 1:
        threads = 1 if settings.threads == cores else cores
        changes[f"--threads {threads}"] = {"threads": threads}
    return changes


def _setting(config: Config, intake: Intake, pictures: int, seconds: float) -> dict[str, Any]:
    settings = config.settings
    return {
        "pictures": pictures,
        "measured_pictures": len(intake.table),
        "input_size": list(intake.input_size),
        "channels": intake.prepare.channels,
        "model": config.one("model").name,
        "device": settings.device,
        "precision": settings.precision,
        "step": settings.step,
        "batch_size": settings.batch_size,
        "cores": usable_cores(),
        "threads": settings.threads,
        "workers": workers_of(settings.workers),
        "most_workers": workers_of(None),
        "seconds": seconds,
    }
