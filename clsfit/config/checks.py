"""What no single option can tell: options that must fit each other."""

from __future__ import annotations

from clsfit.config.tree import Config
from clsfit.errors import ConfigError, printable
from clsfit.registry import REPEATABLE, nearest


def check_monitors(config: Config) -> None:
    """A parameter called ``monitor`` is None or a key that metrics.jsonl will have.

    Raises:
        ConfigError: it is something else.
    """
    scores = ["loss", *(metric.name for metric in config.all("metric"))]
    keys = [f"{part}/{score}" for part in ("val", "train") for score in scores]
    for slot, choices in config.components.items():
        for choice in choices:
            monitor = choice.params.get("monitor")
            if monitor is None or monitor in keys:
                continue
            option = f"--{slot}.{choice.name}.monitor" if slot in REPEATABLE else f"--{slot}.monitor"
            raise ConfigError(
                f"{option}: the run will have no {printable(str(monitor))!r}",
                f"it will have: {', '.join(keys)}",
                nearest(str(monitor), keys) or "add the metric, or monitor one of these",
            )
