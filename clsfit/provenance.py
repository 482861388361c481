"""What a run's records say of where it comes from: components with options and versions, machine, data."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit import __version__
from clsfit.config import Config, Selection
from clsfit.data.intake import Intake
from clsfit.header import FORMAT
from clsfit.pipeline.finish import Finish
from clsfit.registry import Offer


def model_header(
    config: Config,
    intake: Intake,
    finish: Finish,
    filled: Mapping[str, Any],
    class_weights: npt.NDArray[np.float64] | None,
    always: Collection[str],
    memory_format: torch.memory_format,
) -> dict[str, Any]:
    """What the model file says beside the weights: all that applying them needs, and where they come from.

    Args:
        always: names of the augmentations that are applied outside training too.
        memory_format: of the model's pictures and weights.
    """

    def told(choice: Selection) -> dict[str, Any]:
        offer = choice.offer
        return {"name": offer.component.name, "plugin": offer.plugin, "params": choice.params}

    return {
        "format": FORMAT,
        "clsfit": __version__,
        "classes": list(intake.table.classes),
        "class_counts": [int(count) for count in filled["class_counts"]],
        "class_weights": None if class_weights is None else class_weights.tolist(),
        "model": told(config.one("model")),
        "loss": told(config.one("loss")),
        "metrics": [told(choice) for choice in config.all("metric")],
        "prepare": intake.prepare.to_json(),
        "finish": finish.to_json(),
        "augments": [told(choice) for choice in config.all("augment") if choice.name in always],
        "batch_size": config.settings.batch_size,
        "precision": config.settings.precision,
        "device": config.settings.device.partition(":")[0],
        "channels_last": memory_format == torch.channels_last,
        "seed": config.settings.seed,
        "total_steps": filled["total_steps"],
        "steps_per_epoch": filled["steps_per_epoch"],
        "plugins": plugins_of(config),
    }


def environment(config: Config, intake: Intake, device: str, ranks: int) -> dict[str, Any]:
    """What environment.json records: versions, plugins, hardware, the data's fingerprint. No secrets.

    Args:
        device: where it was trained.
        ranks: how many processes train it.
    """

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    packages = ("torch", "torchvision", "numpy", "pillow", "safetensors")
    return {
        "clsfit": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: installed(name) for name in packages},
        "device": device,
        "threads": config.settings.threads,
        "ranks": ranks,
        "plugins": plugins_of(config),
        "data": {
            "fingerprint": intake.fingerprint,
            "pictures": len(intake.table.paths),
            "classes": list(intake.table.classes),
            "left_out": list(intake.left_out),
        },
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
    """:func:`packages` of every selected component."""
    return packages(choice.offer for choice in selections(config))


def packages(offers: Iterable[Offer]) -> dict[str, str]:
    """Top-level package of each target, and its distribution with version; for blaming an exception.

    A target may lie in torch itself; torch's frames are in every traceback, so it is never blamed.
    """
    owners = {offer.component.target.split(":")[0].split(".")[0]: offer.provider for offer in offers}
    return {package: owner for package, owner in owners.items() if package not in {"torch", "torchvision"}}
