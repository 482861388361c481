"""What a run says before its first step: on what it trains, with what, and by whose code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsfit.config import Config
from clsfit.data.intake import Intake
from clsfit.errors import printable

if TYPE_CHECKING:
    from clsfit.engine.run import Run


def introduction(config: Config, intake: Intake, run: Run) -> list[str]:
    """What is trained on what, in a few lines."""
    table, settings, counts = intake.table, config.settings, run.header["class_counts"]
    parts = ", ".join(f"{len(table.rows(name)):,} {name}" for name in ("train", "val", "test") if len(table.rows(name)))
    shown = [f"{printable(name)} {count:,}" for name, count in zip(table.classes, counts, strict=True)]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    height, width = intake.input_size
    colour = "grey" if intake.prepare.channels == 1 else "colour"
    ranks = f" on {run.ranks.world_size} ranks" if run.ranks.world_size > 1 else ""
    chosen = ", ".join(f"{slot} {config.one(slot).name}" for slot in ("model", "loss", "optimizer", "scheduler"))
    return [
        f"data: {parts} pictures; training classes: {', '.join(shown[:12])}{more}",
        *([intake.found] if intake.found else []),
        f"input: {height}x{width}, {colour}; {run.train.loader.describe()}",
        f"{chosen}; {run.device}, {settings.precision}{ranks}, threads {settings.threads}, seed {settings.seed}",
        *run.notes,
    ]


def details(config: Config, parameters: list[Any]) -> list[str]:
    """What only ``-v`` shows: how much is trained, and by whose code."""
    from clsfit.provenance import plugins_of  # it needs torch

    plugins = ", ".join(f"{plugin['distribution']} {plugin['version']}" for plugin in plugins_of(config))
    decayed = sum(parameter.numel() for parameter in parameters if parameter.ndim >= 2)
    total = sum(parameter.numel() for parameter in parameters)
    return [f"trained parameters: {total:,}, of which {decayed:,} with weight decay", f"components of: {plugins}"]
