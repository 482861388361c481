"""From a configuration to a finished run: the way that ``clsfit train`` and :func:`clsfit.train` go."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsfit import together, weights
from clsfit.config import Config
from clsfit.data.intake import Intake
from clsfit.data.processes import Decoders
from clsfit.data.threads import workers_of
from clsfit.destination import default_name, keep_out_of_data
from clsfit.distributed import launch
from clsfit.errors import CheckpointError, ConfigError, DataError
from clsfit.introduction import details, introduction
from clsfit.opening import anchored, take_in_wanted
from clsfit.registry import Plugins
from clsfit.resume import Record, agree
from clsfit.storage import checkpoints
from clsfit.storage.rundir import RunDirectory

if TYPE_CHECKING:
    from clsfit.distributed.meeting import Meeting
    from clsfit.engine.ranks import Ranks
    from clsfit.engine.report import Reporter
    from clsfit.engine.run import Run


@dataclass(frozen=True)
class Control:
    """How to run, as opposed to what: nothing of it is in config.yaml."""

    output: Path | None = None
    resume: bool = False
    overwrite: bool = False
    accept_changes: bool = False
    dry_run: bool = False
    strict: bool = False
    verbosity: int = 1

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ConfigError("--resume goes on with a run and --overwrite replaces it", "", "give one of them")
        if self.overwrite and self.output is None:
            raise ConfigError("--overwrite has no effect: without -o a run gets a new name", "", "add -o DIR")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        directory: where its files are; not written by a dry run.
        summary: what summary.json says; empty after a dry run, and on other ranks than 0.
        metrics: the rows of metrics.jsonl, one per epoch; empty as ``summary`` is.
    """

    directory: Path
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]


def train_config(config: Config, plugins: Plugins, control: Control) -> TrainedRun:
    """Trains, or goes on training, what ``config`` says.

    Where a launcher has started several processes, this one is a rank of them, by the environment: each is to
    be called alike, and all train one run.

    Raises:
        ClsfitError: see its subclasses; nothing that was saved before is lost.
    """
    config = anchored(weights.anchored(config))
    place = launch.place()
    if place is not None:
        control = control if place.rank == 0 else replace(control, verbosity=-1)
    directory = RunDirectory(control.output or default_name(config, control.resume))
    keep_out_of_data(config, directory.path)
    record = _record(directory, control)
    if record is not None:
        config = agree(config, plugins, record, control.accept_changes)
        record.check_ranks(place.world_size if place else 1, control.accept_changes)
        if not record.moved and _nothing_to_do(directory, record, control):
            return _result(directory)
    elif control.overwrite:
        weights.keep(config, directory.path)
    elif control.resume:  # a misspelt -o looks like this too
        _say(control, f"{directory.path} holds no run that could go on: it starts")
    if place is not None:
        together.check_batch_size(config.settings.batch_size, place.world_size)
    leads = place is None or place.rank == 0
    if leads and not control.dry_run:
        directory.check_place()  # before every picture is read
    wanted = weights.preprocessing(config) if record is None else None  # a record says all of it
    config = weights.adopt(config, wanted)
    with (
        Decoders(config.settings.start_method, workers_of(config.settings.workers)) as decoders,
        together.met(
            None if control.dry_run else place, config, directory, record, waits=decoders.are_processes
        ) as meeting,
    ):
        intake = take_in_wanted(
            config,
            record.split if record is not None else None,
            accept_changes=control.accept_changes,
            strict=control.strict,
            decoders=decoders,
            say=partial(_say, control),
        )
        config = weights.adopt(config, wanted, intake.prepare.channels)
        if record is not None:
            record.check_data(intake, control.accept_changes)
            if record.moved and _nothing_to_do(directory, record, control):
                return _result(directory)
        if control.dry_run:
            return _dry_run(config, intake, control, directory, record)
        with directory.lock() if leads else nullcontext():
            if leads and control.overwrite and directory.holds_run():
                directory.clear()
            return _train(config, intake, control, directory, record, meeting)


def _nothing_to_do(directory: RunDirectory, record: Record, control: Control) -> bool:
    if not directory.complete() or record.changed:
        return False
    _say(control, f"{directory.path}: complete, nothing to do")
    return True


def _train(
    config: Config,
    intake: Intake,
    control: Control,
    directory: RunDirectory,
    record: Record | None,
    meeting: Meeting | None,
) -> TrainedRun:
    """The part that needs torch, inside the run directory's lock, which rank 0 holds."""
    from clsfit.engine.ranks import Alone

    if meeting is None:
        return _train_as(Alone(), config, intake, control, directory, record)
    from clsfit.engine.group import Group

    with Group(meeting) as ranks:
        return _train_as(ranks, config, intake, control, directory, record)


def _train_as(
    ranks: Ranks, config: Config, intake: Intake, control: Control, directory: RunDirectory, record: Record | None
) -> TrainedRun:
    import clsfit.engine.checkpoint
    from clsfit.build import build_run
    from clsfit.engine.fit import fit
    from clsfit.engine.modelfiles import keep_best

    leads = ranks.rank == 0
    if not ranks.alike(intake.fingerprint):
        error = DataError("the ranks see different pictures", "", "start all ranks on files that all of them see")
        error.shared = True
        raise error
    config, reporter, device = settle(config, intake, control, directory if leads else None)
    saved = ranks.same(_newest(directory, reporter) if leads and record is not None else None)
    run = build_run(config, intake, device, reporter, directory if leads else None, starts=saved is None, ranks=ranks)
    config = config.replace_settings(step=run.mode.name)
    changed = record is not None and record.changed
    if leads:
        _write_record(run, config, intake, directory, new=saved is None, changed=changed)
    if saved is not None:
        clsfit.engine.checkpoint.restore(run, saved, changed=changed)
        if changed:
            run.stop_reason = ""
            keep_best(run, directory.path)
        reporter.say(f"resumed at step {run.step} (epoch {run.epoch + 1}/{run.epochs})")
    ranks.level(run)
    for line in introduction(config, intake, run):
        reporter.say(line)
    for line in details(config, run.parameters):
        reporter.say(line, detail=True)
    fit(run)
    if run.best is not None:
        reporter.say(f"best: epoch {run.best.epoch}, {run.best.monitor} {run.best.value:.4f}")
    reporter.say(f"run: {directory.path}")
    return _result(directory) if leads else TrainedRun(directory.path, {}, [])


def _newest(directory: RunDirectory, reporter: Reporter) -> checkpoints.Checkpoint | None:
    """The checkpoint to go on from; newer ones that cannot be trusted are named and lose their names."""
    if not directory.holds_checkpoint():
        return None
    saved, skipped = checkpoints.newest_verified(directory.checkpoints)
    for path, reason in skipped:
        reporter.say(f"checkpoint {path} is left aside: {reason}")
    checkpoints.set_aside(path for path, _ in skipped)
    return saved


def _write_record(
    run: Run, config: Config, intake: Intake, directory: RunDirectory, *, new: bool, changed: bool
) -> None:
    """Writes what says which run this is; logs begin anew where the run does."""
    from clsfit.provenance import environment

    if changed:
        directory.reopen()  # first: from here on the run is not complete, whatever happens
    if new or changed:
        directory.write_config(config.to_yaml())
        directory.write_environment(environment(config, intake, str(run.device), run.ranks.world_size))
        directory.write_split(_split_rows(intake))
    if new:
        directory.metrics.truncate(0)
        directory.log.truncate(0)


def settle(
    config: Config, intake: Intake, control: Control, directory: RunDirectory | None
) -> tuple[Config, Reporter, Any]:
    """Decides what was left to be found out, before step 0: device, threads, precision, sizes."""
    from clsfit.build import finish_of
    from clsfit.engine import device as devices
    from clsfit.engine import precision
    from clsfit.engine.report import Reporter

    settings, finish, place = config.settings, finish_of(config, intake), launch.place()
    device = devices.choose(settings.device) if place is None else devices.choose_among(settings.device, place)
    config = config.replace_settings(
        device=device.type if settings.device == "auto" else settings.device,
        threads=devices.set_threads(
            settings.threads, finish.values(settings.batch_size), place.local_world_size if place else 1
        ),
        precision=precision.choose(settings.precision, device),
        input_size=intake.input_size,
        channels=finish.channels,
        mean=finish.mean,
        std=finish.std,
    )
    log = directory.log.append if directory is not None else None
    return config, Reporter(control.verbosity, log), device


def _dry_run(
    config: Config, intake: Intake, control: Control, directory: RunDirectory, record: Record | None
) -> TrainedRun:
    """Everything but training: every object is built, nothing is written."""
    from clsfit.build import build_run

    config, reporter, device = settle(config, intake, control, None)
    run = build_run(config, intake, device, reporter, None, starts=record is None)
    for line in introduction(config, intake, run):
        reporter.say(line)
    reporter.say(f"dry run: {run.total_steps} steps were not trained, nothing was written")
    return TrainedRun(directory.path, {}, [])


def _record(directory: RunDirectory, control: Control) -> Record | None:
    """The run that ``directory`` holds, if it is to be resumed."""
    if not directory.holds_run():
        if directory.holds_checkpoint():  # a new run would be taken for the old one's beginning, and pruned
            raise CheckpointError(
                f"{directory.path} has checkpoints but no config.yaml", "", "it cannot be resumed; use another -o"
            )
        return None
    if control.resume:
        return Record.read(directory)
    if control.overwrite:
        return None
    raise ConfigError(
        "there is a run already",
        f"in {directory.path}",
        "give --resume to go on, --overwrite to start anew, or another -o",
    )


def _split_rows(intake: Intake) -> list[Any]:
    from clsfit.data.split import to_rows

    return list(to_rows(intake.table))


def _result(directory: RunDirectory) -> TrainedRun:
    return TrainedRun(directory.path, directory.read_summary(), directory.read_metrics())


def _say(control: Control, line: str) -> None:
    from clsfit.engine.report import Reporter

    Reporter(control.verbosity).say(line)
