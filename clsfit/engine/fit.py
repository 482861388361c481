"""The loop. Read it top-down: ``fit``, then ``train_epoch``, then the small verbs they call.

The drawing of the loop with the callbacks' moments: ``docs/explanation/training-loop.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from clsfit.engine.blame import raise_blamed
from clsfit.engine.closure import Closure
from clsfit.engine.device import reseed
from clsfit.engine.divergence import Watch
from clsfit.engine.infer import evaluate, loss_sum, takes_images
from clsfit.engine.modelfiles import save_summary
from clsfit.engine.modes import training_mode
from clsfit.engine.proof import check_room, prove
from clsfit.engine.records import Best
from clsfit.engine.report import epoch_line
from clsfit.engine.run import Run
from clsfit.engine.signals import interruptible, leave_if_interrupted
from clsfit.engine.step import clearing
from clsfit.engine.sums import undefined_notes
from clsfit.errors import DivergedError, ResourceError
from clsfit.keyed import step_seeds
from clsfit.pipeline.batches import Window
from clsfit.pipeline.loader import Batch


def fit(run: Run) -> None:
    """Trains ``run`` from where it is until its epochs are done or somebody stops it.

    Raises:
        DivergedError: a loss or gradient was not finite; the weights never saw it.
        InterruptedRunError, TerminatedRunError: by a signal; everything is saved.
        PluginError: a component of the run failed.
    """
    try:
        with interruptible(run):
            start(run)
            while run.goes_on:
                try:
                    train_epoch(run)
                except DivergedError as error:
                    recover(run, error)
                    continue
                validate(run)
                end_epoch(run)
            finish(run)
    except BaseException as error:
        run.reporter.close_bar()
        cause = run.mode.explained(error)
        report_failures(run, "on_error", error=cause)
        raise_blamed(cause, run.packages, batch_size=run.header["batch_size"])
    finally:
        if (failure := run.saver.close()) is not None:
            say_at_last(run, f"the last save failed: {failure}")
        report_failures(run, "on_fit_end")


def train_epoch(run: Run) -> None:
    """What is left of the current epoch: one optimizer step per window of micro-batches."""
    loss, optimizer, precision, parameters = run.loss, run.optimizer, run.precision, run.parameters
    on_gradients, on_step_end = run.hooks.teller("on_gradients"), run.hooks.teller("on_step_end")
    begin_epoch(run)
    with_images, scheduler_steps = takes_images(loss), "step" in moments_of(run.scheduler)
    watch, clear = Watch(run), clearing(optimizer, parameters)
    agreed, reduce, seed = run.ranks.agreed, run.ranks.reducer(run), run.ranks.seed(run.seed)
    training_mode(run.model)
    loss.train()
    if told := getattr(loss, "begin_epoch", None):
        told(run.epoch, run.epochs)
    forward, way = run.mode.begin(run, watch, run.epoch_batches())
    again = Closure(run, watch, forward)
    started = time.perf_counter() - run.train_seconds
    for window, own_seed in zip(steps(run), step_seeds(seed, run.step, run.steps_per_epoch), strict=False):
        reseed(run.device, own_seed)
        for batches, add, may_step in way(window):  # once, or never where a CUDA graph does it all
            again.batches, again.window, totals = [], window, []
            for _ in window.bounds:
                batch = next(batches)
                with precision.autocast():
                    logits = forward(batch.images)
                logits = logits.float()
                values = (
                    loss(logits, batch.targets, images=batch.images) if with_images else loss(logits, batch.targets)
                )
                precision.backward(values, batch.weights, len(batch.rows), window.samples)
                totals.append(loss_sum(values.detach(), batch))
                add(logits.detach(), batch.targets, totals[-1])
                if again.arguments:
                    again.batches.append(batch)
                del logits, values  # they hold the graph of the gradients, which a capture must not find
            if reduce:
                totals = reduce(totals, window)
            precision.check([g for p in parameters if (g := p.grad) is not None], totals)
            if on_gradients:
                on_gradients(run=run)
            if may_step():
                with run.rates():
                    optimizer.step(*again.arguments)
            clear()
        run.lr = optimizer.param_groups[0]["lr"] * run.lr_factor
        if scheduler_steps:
            run.scheduler.step()
        run.step += 1
        run.train_seconds = time.perf_counter() - started
        if on_step_end:
            on_step_end(run=run)
        if agreed(run) or run.saver.failed:
            watch.read(run.step)
            paused = time.perf_counter()
            run.saver.check()
            run.save_if_due()
            leave_if_interrupted(run)
            started += time.perf_counter() - paused  # saving is not training: it does not count against the speed
            if run.stop_reason:
                break
    watch.read(run.step)
    run.sums.settle()
    run.train_seconds = time.perf_counter() - started


def recover(run: Run, error: DivergedError) -> None:
    """Asks the callbacks for a way on after a divergence; raises ``error`` again if none has one."""
    for callback in run.hooks.callbacks.values():
        answer = getattr(callback, "recover", None)
        if answer is not None and answer(run, error):
            return
    raise error


def start(run: Run) -> None:
    """Announces the run, saves it, and loads a fresh one back.

    So a full disk and a state that cannot be restored are found in its first minute.
    """
    if tell := run.hooks.teller("on_fit_start"):
        tell(run=run)
    if "metric" in moments_of(run.scheduler):  # only now: a callback may have chosen run.monitor
        key = getattr(run.scheduler, "monitor", None)
        run.scheduler.higher_is_better = run.monitor_for(key).higher_is_better
    _ = run.judged  # two averages are told now
    run.save_now()
    run.saver.flush()
    if run.directory is not None and run.step == run.epoch == 0:
        prove(run)
        check_room(run)


def begin_epoch(run: Run) -> None:
    """Tells that an epoch begins, unless the run resumes inside it."""
    if not run.inside_epoch and (tell := run.hooks.teller("on_epoch_start")):
        tell(run=run)


def steps(run: Run) -> Iterator[Window]:
    """The epoch's optimizer steps that are still to come, with a bar on a terminal.

    None are, where the run was stopped inside the epoch, saved there, and resumed.
    """
    done = run.step - run.epoch_start
    coming = [] if run.inside_epoch and run.stop_reason else run.windows[done:]
    label = f"epoch {run.epoch + 1}/{run.epochs}"
    return run.reporter.bar(run.ranks.own(coming), run.steps_per_epoch, label, done=done)


def validate(run: Run) -> None:
    """Reads the epoch's sums, judges the validation pictures, and keeps the row as ``run.scores``."""
    started = time.perf_counter()
    trained = run.ranks.merged(run.sums, run.new_sums)
    samples, scores = trained.samples, trained.scores("train/")
    if run.val is not None:
        batches = run.reporter.bar(run.val_batches(), len(run.ranks.turns(run.val_bounds)), "validation", "batch")
        own = evaluate(run.judged, run.loss, watched(run, batches), run.precision, run.new_sums())
        sums = run.ranks.merged(own, run.new_sums)
        scores |= sums.scores("val/")
        if not math.isfinite(scores["val/loss"] or 0.0):
            run.say("warning: the validation loss is not finite")
        if run.epoch == 0:
            for note in undefined_notes(sums.per_class(run.header["classes"])):
                run.say(note)
    run.seconds += run.train_seconds + time.perf_counter() - started
    run.scores = {
        "epoch": run.epoch + 1,
        "step": run.step,
        "lr": float(run.lr),
        "seconds": round(run.seconds, 3),
        "train_images_per_second": round(samples / max(run.train_seconds, 1e-9), 1),
        **scores,
    }


def watched(run: Run, batches: Iterator[Batch]) -> Iterator[Batch]:
    """``batches``, left between two of them when the run is interrupted; every rank looks as often."""
    for _ in range(-(-len(run.val_bounds) // run.ranks.world_size)):
        if run.ranks.agreed(run):
            leave_if_interrupted(run)
        yield from islice(batches, 1)


def end_epoch(run: Run) -> None:
    """Counts the epoch, writes its row, tells the scheduler and the callbacks."""
    run.epoch += 1
    run.sums, run.train_seconds, run.epoch_start = run.new_sums(), 0.0, run.step
    value: Any = run.scores.get(run.monitor.key)
    # a resumed run may have another monitor, by accepted changes: its values do not compare
    best = run.best.value if run.best and run.best.monitor == run.monitor.key else None
    run.improved = run.monitor.better(value, best)
    if run.improved:
        run.best = Best(run.epoch, run.monitor.key, value, run.step)
    if run.directory is not None:
        run.directory.metrics.append(run.scores)
    run.say(epoch_line(run.scores, run.epochs))
    when = moments_of(run.scheduler)
    if "epoch" in when:
        run.scheduler.step()
    if "metric" in when:
        run.scheduler.step(run.scores.get(run.monitor_for(getattr(run.scheduler, "monitor", None)).key))
    if tell := run.hooks.teller("on_epoch_end"):
        tell(run=run)
    run.ranks.settle(run)
    run.save_if_due()
    leave_if_interrupted(run)


def finish(run: Run) -> None:
    """The last checkpoint, the last model file, and the summary that makes the run complete."""
    run.stop_reason = run.stop_reason or "all epochs done"
    run.save_now()
    run.save_models("last")
    run.saver.flush()
    save_summary(run)
    run.ranks.meet()  # none is done before rank 0 has written everything
    run.say(f"finished: {run.stop_reason}")


def moments_of(scheduler: Any) -> tuple[str, ...]:
    """When a scheduler steps, as a tuple."""
    return (scheduler.when,) if isinstance(scheduler.when, str) else tuple(scheduler.when)


def report_failures(run: Run, moment: str, **arguments: Any) -> None:
    """Tells a closing moment to every callback; one that fails there hides nothing else."""
    for line in run.hooks.tell_all(moment, run=run, **arguments):
        say_at_last(run, line)


def say_at_last(run: Run, line: str) -> None:
    """Says a line that is lost where the log cannot be written: that must not hide what ended the run."""
    with suppress(ResourceError):
        run.say(line)
