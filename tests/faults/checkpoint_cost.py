"""What saving costs a run: how often it happens, times what it costs while it happens.

    python tests/faults/checkpoint_cost.py [PAIRS]

A hundredth is lost in the noise of a run's total time, so its factors are measured:

- *slowdown*: stretches of a run beside which a thread saves checkpoints without a rest, and stretches
  without, in pairs of an order drawn by lot: the median of the ratios of wall time, and its 95 % interval
  (bootstrap over pairs);
- *at work*: the share of a run's wall time in which its saver was at work;
- *waited*: the share in which the training waited for copies, or for the saver;
- *asked*: the share of the callback's call at each step, which asks whether it is time to save: the median of
  many calls after the run, times its steps.

The cost is ``asked + waited + at work * (1 - 1 / slowdown)``, for the callback as it is (``usual``), for an
``every_seconds`` so small that only the rules of rest hold saves back (``busy``), and for the worst moment of such
a run, the end of the epoch after its first save (``short``). All write the best and the last model at epochs'
ends. A run takes half a minute, that of resnet18 some minutes, since one of its saves takes two seconds. What
every run saves, at its start and its end, is left out. Waiting for the saver counts twice, in *waited* and
in *at work*.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import clsfit
from clsfit.engine import fit as loop
from clsfit.engine.checkpoint import Snapshot, snapshot
from clsfit.engine.run import Run
from clsfit.storage import checkpoints
from clsfit.storage.background import Background
from clsfit.testing import draw_pictures

CASES: dict[str, tuple[int, int, dict[str, Any]]] = {  # with the epochs of a stretch, and of a run
    "mlp, 1 thread": (20, 1200, {"model": {"name": "mlp", "hidden": [64]}, "threads": 1}),
    "small_cnn, 1 thread": (2, 120, {"model": "small_cnn", "threads": 1}),
    "small_cnn, 2 threads": (2, 120, {"model": "small_cnn", "threads": 2}),
    "resnet18 at 32 px, 2 threads": (1, 60, {"model": "resnet18", "threads": 2, "input_size": 32, "channels": 3}),
}

KINDS: dict[str, dict[str, Any]] = {"usual": {}, "busy": {"every_seconds": 1e-3}, "short": {"every_seconds": 1e-3}}


class Stretches:
    """Stands in the place of ``train_epoch``, and saves beside every other stretch of epochs."""

    def __init__(self, epochs: int, pairs: int, folder: Path) -> None:
        draw = random.Random(0)
        self.coming = [True, *(on for _ in range(pairs) for on in draw.sample([True, False], 2))]  # first: warm-up
        self.epochs, self.folder, self.plain = epochs, folder, loop.train_epoch
        self.done, self.total = 0, epochs * len(self.coming) + 1
        self.times: list[tuple[bool, float]] = []
        self.enough, self.saving, self.saves = threading.Event(), threading.Thread(), 0

    def __call__(self, run: Run) -> None:
        if self.done % self.epochs == 0:
            self.turn(run)
        self.done += 1
        self.plain(run)

    def turn(self, run: Run) -> None:
        if self.done:
            self.times.append((self.coming.pop(0), time.perf_counter() - self.began))
        self.enough.set()
        if self.saving.is_alive():
            self.saving.join()
        if self.coming and self.coming[0]:
            self.enough.clear()
            self.saving = threading.Thread(target=self.save, args=(snapshot(run),))
            self.saving.start()
        self.began = time.perf_counter()

    def save(self, taken: Snapshot) -> None:
        while not self.enough.is_set():
            checkpoints.save(self.folder, self.saves, taken.files())
            checkpoints.prune(self.folder, keep=2, never=frozenset())
            self.saves += 1


def slowdown(data: Any, folder: Path, epochs: int, pairs: int, options: dict[str, Any]) -> list[float]:
    """For each pair, the time of a stretch beside which is saved, over the time of one beside which is not."""
    (folder / "beside").mkdir(parents=True)
    loop.train_epoch = stretches = Stretches(epochs, pairs, folder / "beside")
    try:
        clsfit.train(data, output=folder / "run", callback=["none"], epochs=stretches.total, verbosity=0, **options)
    finally:
        loop.train_epoch = stretches.plain
    taken = stretches.times[1:]
    assert stretches.saves > pairs, "it was hardly saved"
    return [one / other if on else other / one for (on, one), (_, other) in zip(taken[::2], taken[1::2], strict=True)]


class Clock:
    """Takes the time of the loop between its start and its end, and in it of the saver and of what waits for it.

    Attributes:
        short: whether runs stop at the end of the epoch after the first save that is not their start's.
    """

    def __init__(self) -> None:
        self.inside, self.wall, self.work, self.waits, self.asked = False, 0.0, 0.0, 0.0, 0.0
        self.short = False
        start, end_epoch, finish, next_job = loop.start, loop.end_epoch, loop.finish, Background._next

        def started(run: Run) -> None:
            start(run)
            self.wall, self.work, self.waits, self.inside = -time.perf_counter(), 0.0, 0.0, True

        def ended_epoch(run: Run) -> None:
            end_epoch(run)
            if self.short and run.last_save is not None and run.last_save.step:
                run.stop("its first save is written")

        def finished(run: Run) -> None:
            self.wall, self.inside = self.wall + time.perf_counter(), False
            finish(run)
            if tell := run.hooks.teller("on_step_end"):
                calls = timeit.repeat(lambda: tell(run=run), number=1000, repeat=101)
                self.asked = statistics.median(calls) / 1000 * run.step

        def timed_job(saver: Background) -> Callable[[], None] | None:
            job = next_job(saver)
            return job and self.counted(job, "work")

        loop.start, loop.end_epoch, loop.finish = started, ended_epoch, finished
        Background._next = timed_job  # type: ignore[method-assign]
        for name in ("save_now", "save_models"):
            setattr(Run, name, self.counted(getattr(Run, name), "waits"))

    def counted(self, do: Callable[..., None], what: str) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            began = time.perf_counter()
            do(*arguments)
            if self.inside:
                setattr(self, what, getattr(self, what) + time.perf_counter() - began)

        return timed


def interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), medians[50], medians[-51]


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"torch {torch.__version__}, {pairs} pairs")
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        pictures = draw_pictures(Path(folder) / "pictures", {"a": 400, "b": 400, "c": 400}, size=16)
        for name, (stretch, epochs, options) in CASES.items():
            data, place = pictures if "resnet" in name else "digits", Path(folder) / name
            slower = interval(slowdown(data, place, stretch, pairs, options))
            print(f"{name}: slowdown {slower[0]:.3f} [{slower[1]:.3f}-{slower[2]:.3f}]", flush=True)
            for kind, callback in KINDS.items():
                chosen, clock.short = ["none", {"name": "checkpoint"} | callback], kind == "short"
                clsfit.train(data, output=place / kind, callback=chosen, epochs=epochs, verbosity=0, **options)
                saves = (place / kind / "log.txt").read_text().count("checkpoint of step") - 2
                asked, waited, work = (part / clock.wall for part in (clock.asked, clock.waits, clock.work))
                cost = [f"{asked + waited + work * (1 - 1 / times):.2%}" for times in slower]
                print(
                    f"  {kind}: cost {cost[0]} [{cost[1]}-{cost[2]}]: asked {asked:.2%}, waited {waited:.2%}, "
                    f"at work {work:.2%}, {saves} saves in {clock.wall:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
