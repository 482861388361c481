"""The one place where names become objects: configuration and data in, a :class:`Run` out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from clsfit import __version__
from clsfit.config import Config, Selection
from clsfit.contracts import FILLED, Metric
from clsfit.data.intake import Intake
from clsfit.data.threads import workers_of
from clsfit.engine import device as devices
from clsfit.engine.infer import takes_images
from clsfit.engine.moments import CallbackHooks
from clsfit.engine.precision import Precision
from clsfit.engine.report import Reporter
from clsfit.engine.run import Monitor, Part, Run, order_of
from clsfit.errors import ClsfitError, ConfigError, PluginError
from clsfit.keyed import key
from clsfit.pipeline.augment import Augmentation
from clsfit.pipeline.batches import batch_bounds, windows
from clsfit.pipeline.finish import Finish
from clsfit.pipeline.loader import Loader
from clsfit.registry import Offer
from clsfit.storage.rundir import RunDirectory

_OWED: dict[str, tuple[str, ...]] = {
    "optimizer": ("param_groups", "step", "zero_grad", "state_dict", "load_state_dict"),
    "scheduler": ("step", "state_dict", "load_state_dict"),
    "metric": ("higher_is_better", "update", "compute"),
    "sampler": ("order",),
    "dataset": ("table", "read"),
}
"""Members without which a run would fail later, where nobody knows whose they were."""


def build_run(
    config: Config, intake: Intake, device: torch.device, reporter: Reporter, directory: RunDirectory | None
) -> Run:
    """Builds every object of a run.

    Args:
        config: resolved, with no value left to be found out.
        intake: the data.
        device: where to train.
        reporter: who says what happens.
        directory: where to save; None saves nothing.

    Raises:
        PluginError: a component cannot be built, or does not keep its contract.
        ConfigError: components that do not go together.
    """
    settings, table = config.settings, intake.table
    finish = finish_of(config, intake)
    classes = table.classes
    filled: dict[str, Any] = {
        "num_classes": len(classes),
        "class_names": classes,
        "class_counts": table.counts("train"),
        "in_channels": finish.channels,
        "input_size": finish.input_size,
        "seed": settings.seed,
    }
    model = build_module(config.one("model"), filled, device)
    loss = build_module(config.one("loss"), filled, device)
    check_model(config.one("model").offer, model, filled, device)
    check_loss(config.one("loss").offer, loss, filled, device, weighted=table.weights is not None)
    sampler = make(config.one("sampler"), filled)
    augments = [(choice.name, make(choice, filled)) for choice in config.all("augment")]
    check_targets(config, loss, augments)
    parts = {
        name: _part(intake, finish, name, config, device, Augmentation(augments) if name == "train" else None)
        for name in ("train", "val")
    }
    train, val = parts["train"], parts["val"] if len(parts["val"].rows) else None
    callbacks = {choice.name: make(choice, filled) for choice in config.all("callback")}
    order = _tried(config.one("sampler").offer, partial(order_of, sampler, 0, train.targets), "in epoch 0")
    steps = windows(batch_bounds(len(order), settings.batch_size), _accumulate(callbacks))
    if getattr(loss, "batchwise", False) and any(len(window.bounds) > 1 for window in steps):
        reporter.say("note: this loss is no sum over samples; accumulated micro-batches differ from one big batch")
    filled |= {"steps_per_epoch": len(steps), "total_steps": settings.epochs * len(steps)}
    optimizer = make(config.one("optimizer"), filled | {"params": parameter_groups(model, loss)})
    scheduler = make(config.one("scheduler"), filled | {"optimizer": optimizer})
    _check_when(config.one("scheduler").offer, scheduler)
    metrics = {choice.name: partial(make, choice, filled) for choice in config.all("metric")}
    return Run(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        sampler=sampler,
        hooks=CallbackHooks(callbacks),
        train=train,
        val=val,
        metric_factories=metrics,
        precision=Precision(settings.precision, device),
        device=device,
        seed=settings.seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        windows=steps,
        monitor=_default_monitor(metrics, val is not None),
        reporter=reporter,
        directory=directory,
        header=model_header(config, intake, finish, filled),
        packages=packages_of(config),
    )


def make(selection: Selection, filled: Mapping[str, Any]) -> Any:
    """Calls a component's factory with its options and with what the core fills in.

    Raises:
        PluginError: the target cannot be imported, or its factory raised.
    """
    factory = selection.offer.load()
    try:
        listed = FILLED & inspect.signature(factory).parameters.keys()
        missing = sorted(name for name in listed if name not in filled)
        if missing:
            raise TypeError(f"a {selection.offer.kind} gets no {', '.join(missing)}")
        thing = factory(**selection.params, **{name: filled[name] for name in listed})
    except ClsfitError:
        raise
    except Exception as error:
        offer = selection.offer
        raise PluginError(
            f"{offer.kind} {offer.name!r} cannot be built: {type(error).__name__}: {error}",
            f"of {offer.distribution} {offer.version}",
            "check its options with: clsfit plugins show " + offer.name,
        ) from error
    lacking = [name for name in _OWED.get(selection.offer.kind, ()) if not hasattr(thing, name)]
    if lacking:
        raise _broken(selection.offer, f"its {type(thing).__name__} has no {', '.join(lacking)}")
    return thing


def build_module(selection: Selection, filled: Mapping[str, Any], device: torch.device) -> torch.nn.Module:
    """A model or a loss on ``device``, its weights drawn from the seed, whatever else was drawn before."""
    torch.default_generator.manual_seed(key(filled["seed"], "init", selection.offer.kind) >> 1)
    module = make(selection, filled)
    if not isinstance(module, torch.nn.Module):
        raise _broken(selection.offer, f"the factory returned a {type(module).__name__}, not a torch.nn.Module")
    return module.to(device)


def check_model(offer: Offer, model: torch.nn.Module, filled: Mapping[str, Any], device: torch.device) -> None:
    """Two empty pictures through the model; also gives lazy layers their shapes."""
    images = torch.zeros(2, filled["in_channels"], *filled["input_size"], device=device)
    model.eval()
    with torch.no_grad():
        logits = _tried(offer, partial(model, images))
    model.to(memory_format=devices.memory_format(device))
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, filled["num_classes"]):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise _broken(offer, f"logits must be [B, {filled['num_classes']}] for B=2 pictures, not {got}")


def check_loss(
    offer: Offer, loss: torch.nn.Module, filled: Mapping[str, Any], device: torch.device, weighted: bool = False
) -> None:
    """Two samples through the loss: one value each, or their mean, which ``weighted`` pictures rule out."""
    logits = torch.zeros(2, filled["num_classes"], device=device)
    targets = torch.tensor([0, filled["num_classes"] - 1], device=device)
    extra = {}
    if takes_images(loss):
        extra["images"] = torch.zeros(2, filled["in_channels"], *filled["input_size"], device=device)
    loss.eval()
    with torch.no_grad():
        values = _tried(offer, partial(loss, logits, targets, **extra))
    if not isinstance(values, torch.Tensor) or values.shape not in {(2,), ()}:
        got = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise _broken(offer, f"a loss returns one value per sample [B], or a scalar mean, not {got}")
    if weighted and values.ndim == 0:
        raise ConfigError(
            f"loss {offer.name!r} returns a mean, to which the pictures' weights cannot be applied",
            f"option --loss {offer.name}; the data set gives weights",
            "choose a loss with one value per sample",
        )


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


def model_header(config: Config, intake: Intake, finish: Finish, filled: Mapping[str, Any]) -> dict[str, Any]:
    """What the model file says beside the weights: all that applying them needs, and where they come from."""

    def told(choice: Selection) -> dict[str, Any]:
        offer = choice.offer
        return {"name": offer.component.name, "plugin": offer.plugin, "params": choice.params}

    return {
        "format": 1,
        "clsfit": __version__,
        "classes": list(intake.table.classes),
        "class_counts": [int(count) for count in filled["class_counts"]],
        "model": told(config.one("model")),
        "loss": told(config.one("loss")),
        "metrics": [told(choice) for choice in config.all("metric")],
        "prepare": intake.prepare.to_json(),
        "finish": finish.to_json(),
        "batch_size": config.settings.batch_size,
        "precision": config.settings.precision,
        "device": config.settings.device.partition(":")[0],
        "seed": config.settings.seed,
        "total_steps": filled["total_steps"],
        "steps_per_epoch": filled["steps_per_epoch"],
        "plugins": plugins_of(config),
    }


def selections(config: Config) -> list[Selection]:
    """Every selected component."""
    chosen = [choice for choices in config.components.values() for choice in choices]
    return chosen + ([config.data] if isinstance(config.data, Selection) else [])


def plugins_of(config: Config) -> list[dict[str, str]]:
    """The plugins of every selected component, with versions, by name."""
    found = {choice.offer.plugin: choice.offer for choice in selections(config)}
    return [
        {"name": name, "distribution": found[name].distribution, "version": found[name].version}
        for name in sorted(found)
    ]


def packages_of(config: Config) -> dict[str, str]:
    """Top-level package of every selected component, and its distribution with version."""
    return {
        choice.offer.component.target.split(":")[0].split(".")[0]: f"{choice.offer.distribution} {choice.offer.version}"
        for choice in selections(config)
    }


def _part(
    intake: Intake,
    finish: Finish,
    name: str,
    config: Config,
    device: torch.device,
    augmentation: Augmentation | None,
) -> Part:
    table, settings = intake.table, config.settings
    loader = Loader(
        intake.canvases,
        table.targets,
        finish,
        device=device,
        augments=augmentation,
        seed=settings.seed,
        workers=workers_of(settings.workers),
        weights=table.weights,
        memory_format=devices.memory_format(device),
    )
    rows = table.rows(name)
    return Part(loader, rows, table.targets[rows], table.paths)


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


def _check_when(offer: Offer, scheduler: Any) -> None:
    when = getattr(scheduler, "when", None)
    named = (when,) if isinstance(when, str) else when
    if not named or not set(named) <= {"step", "epoch", "metric"}:
        raise _broken(offer, f'a scheduler says when it steps: when = "step", "epoch" or "metric", not {when!r}')


def _per_channel(values: tuple[float, ...] | None, default: float, channels: int, option: str) -> tuple[float, ...]:
    values = values or (default,)
    if len(values) not in {1, channels}:
        raise ConfigError(f"{len(values)} values for {channels} channels", f"option {option}", "give one, or one each")
    return values * channels if len(values) == 1 else values


def _tried(offer: Offer, call: Callable[[], Any], on: str = "on two empty samples") -> Any:
    try:
        return call()
    except ClsfitError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise _broken(offer, f"it failed {on}: {type(error).__name__}: {reason}") from error


def _broken(offer: Offer, reason: str) -> PluginError:
    return PluginError(
        f"{offer.kind} {offer.name!r}: {reason}",
        f"of {offer.distribution} {offer.version}",
        "see clsfit.contracts for what a component owes",
    )
