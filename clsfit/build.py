"""The one place where names become objects: configuration and data in, a :class:`Run` out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.config import Config
from clsfit.contracts import Metric
from clsfit.data.balance import class_weights
from clsfit.data.intake import Intake
from clsfit.data.threads import workers_of
from clsfit.engine import device as devices
from clsfit.engine import stepmode
from clsfit.engine.moments import CallbackHooks
from clsfit.engine.parts import Part, order_of
from clsfit.engine.precision import Precision
from clsfit.engine.ranks import Alone, Ranks
from clsfit.engine.records import Monitor
from clsfit.engine.report import Reporter
from clsfit.engine.run import Run
from clsfit.errors import ConfigError, printable
from clsfit.factory import build_module, check_loss, check_model, check_when, tried
from clsfit.making import added_option, make, maker
from clsfit.pipeline.augment import Augmentation
from clsfit.pipeline.batches import batch_bounds, windows
from clsfit.pipeline.finish import Finish
from clsfit.pipeline.loader import Loader
from clsfit.provenance import model_header, packages_of
from clsfit.storage.rundir import RunDirectory
from clsfit.weights import source_of, start_from

_ALONE = Alone()


def build_run(
    config: Config,
    intake: Intake,
    device: torch.device,
    reporter: Reporter,
    directory: RunDirectory | None,
    *,
    starts: bool = True,
    ranks: Ranks = _ALONE,
) -> Run:
    """Builds every object of a run.

    Args:
        config: resolved, with no value left to be found out, but for ``step``: ``auto`` becomes
            ``run.mode``.
        intake: the data.
        device: where to train.
        reporter: who says what happens.
        directory: where to save; None saves nothing.
        starts: whether training starts, from the weights that the model's option names; False where a
            checkpoint's follow.
        ranks: the processes that train it.

    Raises:
        PluginError: a component cannot be built, or does not keep its contract.
        CheckpointError: the weights to start from do not fit the model.
        ConfigError: components that do not go together.
    """
    settings, table = config.settings, intake.table
    finish = finish_of(config, intake)
    filled = _filled(config, intake, finish)
    by_class = class_weights(added_option(config.one("loss"), "class_weights"), table.classes, filled["class_counts"])
    model, loss, memory_format = _modules(config, filled, device, _source_of_weights(by_class, intake))
    started = start_from(config.one("model"), model, filled["class_names"]) if starts else []
    sampler = make(config.one("sampler"), filled)
    callbacks = {choice.name: make(choice, filled) for choice in config.all("callback")}
    augments = [(choice.name, make(choice, filled)) for choice in config.all("augment")]
    check_targets(config, loss, augments)
    augmentation = Augmentation(augments)
    loader = _loader(config, intake, finish, device, by_class, augmentation, memory_format)
    parts = (table.rows("train"), table.rows("val"))
    train, val = (Part(loader, rows, table.targets[rows], table.paths) for rows in parts)
    order = tried(config.one("sampler").offer, partial(order_of, sampler, 0, train.targets), "in epoch 0")
    steps = windows(batch_bounds(len(order), settings.batch_size), _accumulate(callbacks))
    filled |= {"steps_per_epoch": len(steps), "total_steps": settings.epochs * len(steps)}
    optimizer, scheduler = _stepping(config, filled, model, loss)
    metrics = {choice.name: maker(choice, filled) for choice in config.all("metric")}
    run = Run(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        sampler=sampler,
        hooks=CallbackHooks(callbacks),
        train=train,
        val=val if len(val.rows) else None,
        metric_factories=metrics,
        precision=Precision(settings.precision, device),
        device=device,
        seed=settings.seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        windows=steps,
        monitor=_default_monitor(metrics, len(val.rows) > 0),
        reporter=reporter,
        directory=directory,
        header=model_header(config, intake, finish, filled, by_class, augmentation.always, memory_format),
        packages=packages_of(config),
        weights=source_of(config.one("model")),
        notes=started,
        ranks=ranks,
    )
    _check_together(config, run)
    run.mode, line = stepmode.decide(config, run)
    run.notes += [
        *_weights_notes(by_class, table.classes),
        *_corrections_note(config, run, by_class is not None, order),
        *_batchwise_notes(run),
        *_format_note(run, memory_format),
        line,
    ]
    return run


def _source_of_weights(by_class: npt.NDArray[np.float64] | None, intake: Intake) -> str:
    """Where samples' weights come from, for messages; empty: there are none."""
    if by_class is not None:
        return "--loss.class_weights"
    return "the data set" if intake.table.weights is not None else ""


def _check_together(config: Config, run: Run) -> None:
    """What can only be judged of the whole run: monitors, and what callbacks ask of it."""
    run.monitor_for(getattr(run.scheduler, "monitor", None))
    for choice in config.all("callback"):
        if (check := getattr(run.hooks.callbacks[choice.name], "check", None)) is not None:
            tried(choice.offer, partial(check, run), "when it checked the run")


def _filled(config: Config, intake: Intake, finish: Finish) -> dict[str, Any]:
    """What the core fills into factories, as far as it is known before the steps are."""
    return {
        "num_classes": len(intake.table.classes),
        "class_names": intake.table.classes,
        "class_counts": intake.table.counts("train"),
        "in_channels": finish.channels,
        "input_size": finish.input_size,
        "seed": config.settings.seed,
    }


def _format_note(run: Run, chosen: torch.memory_format) -> Iterator[str]:
    if chosen != devices.memory_format(run.model, run.device):
        yield "note: the model fails with pictures in channels_last, which would be faster, and gets contiguous ones"


def _batchwise_notes(run: Run) -> Iterator[str]:
    if not getattr(run.loss, "batchwise", False):
        return
    if any(len(window.bounds) > 1 for window in run.windows):
        yield "note: this loss is no sum over samples; accumulated micro-batches differ from one big batch"
    if run.ranks.world_size > 1:
        yield "note: this loss is no sum over samples; parts of a batch, one per rank, differ from the whole"


def _weights_notes(
    weights: npt.NDArray[np.float64] | None,
    classes: Sequence[str],
) -> Iterator[str]:
    if weights is None:
        return
    shown = [f"{printable(name)} {weight:.4g}" for name, weight in zip(classes, weights, strict=True)]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    yield f"class weights: {', '.join(shown[:12])}{more}"


def _corrections_note(config: Config, run: Run, weighted: bool, order: npt.NDArray[np.int64]) -> Iterator[str]:
    """A warning where rare classes are made to count more in two ways.

    Raises:
        ConfigError: the loss goes by shares of the classes that the sampler changes.
    """
    loss, sampler, targets = config.one("loss").name, config.one("sampler").name, run.train.targets
    resampled = not np.array_equal(np.sort(targets[order]), np.sort(targets))
    if resampled and getattr(run.loss, "assumes_shares", False):
        raise ConfigError(
            f"loss {loss!r} goes by the classes' shares of the training pictures, which sampler {sampler!r} changes",
            f"options --loss {loss}, --sampler {sampler}",
            "leave one of them out",
        )
    found = {
        "class weights": weighted,
        f"loss {loss!r}": getattr(run.loss, "corrects_imbalance", False),
        "a sampler that changes the shares": resampled,
    }
    several = [name for name, there in found.items() if there]
    if len(several) > 1:
        number = "two" if len(several) == 2 else "three"
        yield f"warning: {number} corrections for imbalance at once: {', '.join(several[:-1])}, and {several[-1]}"


def _modules(
    config: Config, filled: Mapping[str, Any], device: torch.device, weighted: str
) -> tuple[torch.nn.Module, torch.nn.Module, torch.memory_format]:
    model = build_module(config.one("model"), filled, device)
    loss = build_module(config.one("loss"), filled, device)
    memory_format = check_model(config.one("model").offer, model, filled, device)
    check_loss(config.one("loss").offer, loss, filled, device, weighted=weighted)
    return model, loss, memory_format


def _stepping(
    config: Config, filled: Mapping[str, Any], model: torch.nn.Module, loss: torch.nn.Module
) -> tuple[Any, Any]:
    optimizer = make(config.one("optimizer"), {**filled, "params": parameter_groups(model, loss)})
    scheduler = make(config.one("scheduler"), {**filled, "optimizer": optimizer})
    check_when(config.one("scheduler").offer, scheduler)
    return optimizer, scheduler


def check_targets(config: Config, loss: torch.nn.Module, augments: list[tuple[str, Any]]) -> None:
    """Refuses an augmentation that mixes targets with a loss that cannot take them."""
    mixing = [name for name, augment in augments if getattr(augment, "soft_targets", False)]
    if mixing and not getattr(loss, "soft_targets", False):
        raise ConfigError(
            f"loss {config.one('loss').name!r} takes no soft targets, which {mixing[0]!r} makes",
            f"options --loss {config.one('loss').name}, --augment {mixing[0]}",
            "leave one of them out, or choose a loss with soft targets",
        )


def parameter_groups(*modules: torch.nn.Module) -> list[dict[str, Any]]:
    """Groups for the optimizer: no weight decay on norms, biases and other parameters below two dimensions."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    decayed, free = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": decayed}] if decayed else []
    return groups + ([{"params": free, "weight_decay": 0.0}] if free else [])


def finish_of(config: Config, intake: Intake) -> Finish:
    """How a canvas becomes what the model sees."""
    settings, channels = config.settings, intake.prepare.channels
    return Finish(
        input_size=intake.input_size,
        channels=channels,
        resize=settings.resize,
        mean=_per_channel(settings.mean, 0.5, channels, "--mean"),
        std=_per_channel(settings.std, 0.25, channels, "--std"),
    )


def _loader(
    config: Config,
    intake: Intake,
    finish: Finish,
    device: torch.device,
    by_class: npt.NDArray[np.float64] | None,
    augmentation: Augmentation,
    memory_format: torch.memory_format,
) -> Loader:
    """One for all parts: resident pictures lie on the device once."""
    table, settings = intake.table, config.settings
    return Loader(
        intake.canvases,
        table.targets,
        finish,
        device=device,
        augments=augmentation,
        seed=settings.seed,
        workers=workers_of(settings.workers),
        weights=table.weights,
        class_weights=by_class,
        memory_format=memory_format,
    )


def _accumulate(callbacks: Mapping[str, Any]) -> int:
    found = {name: getattr(callback, "accumulate", None) for name, callback in callbacks.items()}
    asked = {name: steps for name, steps in found.items() if steps is not None}
    if len(asked) > 1:
        raise ConfigError(f"only one callback may set the accumulation, not {' and '.join(asked)}", "option --callback")
    return next(iter(asked.values()), 1)


def _default_monitor(metrics: Mapping[str, Callable[[], Metric]], validated: bool) -> Monitor:
    part = "val" if validated else "train"
    for name, factory in metrics.items():
        return Monitor(f"{part}/{name}", bool(factory().higher_is_better))
    return Monitor(f"{part}/loss", False)


def _per_channel(values: tuple[float, ...] | None, default: float, channels: int, option: str) -> tuple[float, ...]:
    values = values or (default,)
    if len(values) not in {1, channels}:
        raise ConfigError(f"{len(values)} values for {channels} channels", f"option {option}", "give one, or one each")
    return values * channels if len(values) == 1 else values
