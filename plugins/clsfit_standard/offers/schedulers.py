"""The schedulers on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from clsfit import Component


@dataclass(frozen=True)
class ConstantOptions:
    warmup_epochs: Annotated[float, "linear warm-up, in epochs (0.5 is half of one)", Ge(0)] = 0.0
    warmup_steps: Annotated[int, "linear warm-up, in optimizer steps; instead of warmup_epochs", Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("warmup_epochs and warmup_steps are two units of one thing: give one of them")


@dataclass(frozen=True)
class CosineOptions(ConstantOptions):
    min_lr: Annotated[float, "learning rate after the last step", Ge(0)] = 0.0


@dataclass(frozen=True)
class PlateauOptions(ConstantOptions):
    factor: Annotated[float, "what the learning rate is multiplied by", Gt(0), Lt(1)] = 0.1
    patience: Annotated[int, "epochs in a row without improvement before the rate is lowered", Ge(1)] = 10
    min_delta: Annotated[float, "least change that counts as improvement, in the monitor's unit", Ge(0)] = 0.0
    monitor: Annotated[str | None, "key of metrics.jsonl to watch, such as val/loss; none: the run's monitor"] = None
    min_lr: Annotated[float, "the learning rate never goes below", Ge(0)] = 0.0


COMPONENTS = (
    Component(
        "constant",
        "clsfit_standard.schedulers:Constant",
        "the optimizer's rate, after an optional warm-up",
        ConstantOptions,
    ),
    Component(
        "cosine",
        "clsfit_standard.schedulers:Cosine",
        "half a cosine down to min_lr over the whole run",
        CosineOptions,
        "https://arxiv.org/abs/1608.03983",
    ),
    Component(
        "plateau",
        "clsfit_standard.schedulers:Plateau",
        "lowers the rate when the monitored value stops improving",
        PlateauOptions,
    ),
)
