"""A sample's pictures decoded into each place where they may be kept. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsfit.config import Settings
from clsfit.data import cache, canvases, tiers
from clsfit.data.canvases import Canvases
from clsfit.data.checks import reason_of
from clsfit.data.intake import Intake
from clsfit.data.processes import Decoders
from clsfit.data.threads import workers_of
from clsfit.timing.sample import Sample

CACHE_OF = {"resident": "memory", "memory": "memory", "disk": "disk", "stream": "off"}
"""The value of ``--cache`` that gives a tier."""


@dataclass(frozen=True)
class Place:
    """Where pictures were put.

    Attributes:
        canvases: the pictures; None where they cannot be there.
        why: why they cannot, or what :attr:`Canvases.why` says.
        seconds: for one picture, to decode it and put it there.
    """

    canvases: Canvases | None
    why: str
    seconds: float = 0.0


def fill(
    source: Sample, intake: Intake, settings: Settings, total: int, stack: ExitStack, say: Callable[[str], None]
) -> dict[str, Place]:
    """Decodes all pictures once for each of ``memory``, ``disk`` and ``stream``.

    Args:
        source: the pictures of ``intake``, row by row.
        intake: says how canvases are made.
        settings: the run's.
        total: bytes of the canvases of the whole data set.
        stack: closes what the canvases need as long as they are in use; a file on the disk is gone then.
        say: told what is being done.
    """
    refused, folder = _refused(total), None
    if "disk" not in refused:
        try:
            folder = stack.enter_context(cache.scratch())
        except OSError as error:
            refused["disk"] = f"the cache directory cannot be used: {reason_of(error)}"
    found: dict[str, Place] = {}
    for name in ("memory", "disk", "stream"):
        if name in refused:
            found[name] = Place(None, refused[name])
            continue
        say(f"decoding {len(intake.table):,} pictures: {name}")
        found[name] = _place(source, intake, settings, name, folder, stack)
    return found


def _refused(total: int) -> dict[str, str]:
    """Tiers that the canvases of the whole data set are too large for, and why."""
    refused = {}
    if total > cache.available_memory() // 2:
        refused["memory"] = f"all pictures would take {tiers.shown(total)}, more than half of the available memory"
    if total > min(cache.LIMIT_BYTES, tiers.free_bytes(cache.directory())):
        refused["disk"] = f"all pictures would take {tiers.shown(total)}, more than the cache directory may"
    return refused


def _place(
    source: Sample, intake: Intake, settings: Settings, name: str, folder: Path | None, stack: ExitStack
) -> Place:
    workers = workers_of(settings.workers)
    decoders = stack.enter_context(Decoders(settings.start_method, workers))
    started = time.perf_counter()
    made, _ = canvases.build(
        source,
        np.arange(len(intake.table)),
        intake.prepare,
        cache=CACHE_OF[name],
        workers=workers,
        skip_bad=settings.skip_bad,
        cache_dir=folder,
        decoders=decoders,
    )
    seconds = (time.perf_counter() - started) / len(intake.table)
    return Place(made, made.why, seconds) if made.tier == name else Place(None, made.why)


def preferred(cache_setting: str, total: int, found: dict[str, Place]) -> str:
    """The place that ``train`` would choose for the whole data set."""
    order = tiers.order(cache_setting, total, cache.directory() / "canvases", [])
    return next(name for name in order if found[name].canvases is not None)
