"""The schedulers on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from clsfit import Component

_RISE, _MAX_MOMENTUM, _MIN_MOMENTUM = 0.3, 0.95, 0.85


@dataclass(eq=False, repr=False)
class ConstantOptions:
    warmup_epochs: Annotated[float, "linear warm-up, in epochs (0.5 is half of one)", Ge(0)] = 0.0
    warmup_steps: Annotated[int, "linear warm-up, in optimizer steps; instead of warmup_epochs", Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("warmup_epochs and warmup_steps are two units of one thing: give one of them")


@dataclass(eq=False, repr=False)
class DecayOptions(ConstantOptions):
    min_lr: Annotated[float, "learning rate after the last step", Ge(0)] = 0.0


@dataclass(eq=False, repr=False)
class StepOptions(ConstantOptions):
    every_epochs: Annotated[float, "distance of the drops, in epochs; 0: a third of the run", Ge(0)] = 0.0
    every_steps: Annotated[int, "distance of the drops, in optimizer steps; instead of every_epochs", Ge(0)] = 0
    factor: Annotated[float, "what the learning rate is multiplied by at each drop", Gt(0), Lt(1)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every_epochs and self.every_steps:
            raise ValueError("every_epochs and every_steps are two units of one thing: give one of them")


@dataclass(eq=False, repr=False)
class OneCycleOptions(ConstantOptions):
    warmup_epochs: Annotated[float, "length of the rise, in epochs; instead of rise", Ge(0)] = 0.0
    warmup_steps: Annotated[int, "length of the rise, in optimizer steps; instead of rise", Ge(0)] = 0
    rise: Annotated[float, "length of the rise to the optimizer's rate, as a share of the run", Gt(0), Lt(1)] = _RISE
    start_divisor: Annotated[float, "the optimizer's rate over the first step's", Ge(1)] = 25.0
    end_divisor: Annotated[float, "the first step's rate over the last step's", Ge(1)] = 1e4
    cycle_momentum: Annotated[bool, "momentum (or the first beta) falls while the rate rises, and back"] = True
    max_momentum: Annotated[float, "momentum in the first and the last step", Ge(0), Lt(1)] = _MAX_MOMENTUM
    min_momentum: Annotated[float, "momentum at the peak of the rate", Ge(0), Lt(1)] = _MIN_MOMENTUM

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.warmup_epochs or self.warmup_steps) and self.rise != _RISE:
            raise ValueError("rise and a warm-up are two lengths of one thing: give one of them")
        if self.min_momentum > self.max_momentum:
            raise ValueError("min_momentum is above max_momentum")
        if not self.cycle_momentum and (self.max_momentum, self.min_momentum) != (_MAX_MOMENTUM, _MIN_MOMENTUM):
            raise ValueError("max_momentum and min_momentum do nothing without cycle_momentum")


@dataclass(eq=False, repr=False)
class PlateauOptions(ConstantOptions):
    factor: Annotated[float, "what the learning rate is multiplied by", Gt(0), Lt(1)] = 0.1
    patience: Annotated[int, "epochs in a row without improvement before the rate is lowered", Ge(1)] = 10
    min_delta: Annotated[float, "least change that counts as improvement, in the monitor's unit", Ge(0)] = 0.0
    monitor: Annotated[str | None, "key of metrics.jsonl to watch, such as val/loss; none: the run's monitor"] = None
    min_lr: Annotated[float, "the learning rate never goes below", Ge(0)] = 0.0


COMPONENTS = (
    Component(
        "constant",
        "clsfit_standard.schedulers.constant:Constant",
        "the optimizer's rate, after an optional warm-up",
        ConstantOptions,
    ),
    Component(
        "cosine",
        "clsfit_standard.schedulers.decay:Cosine",
        "half a cosine down to min_lr over the whole run",
        DecayOptions,
        "https://arxiv.org/abs/1608.03983",
    ),
    Component(
        "linear",
        "clsfit_standard.schedulers.decay:Linear",
        "a straight line down to min_lr over the whole run",
        DecayOptions,
    ),
    Component(
        "step",
        "clsfit_standard.schedulers.step:Step",
        "lowers the rate at fixed distances, in epochs or optimizer steps",
        StepOptions,
    ),
    Component(
        "onecycle",
        "clsfit_standard.schedulers.onecycle:OneCycle",
        "up to the optimizer's rate and down to almost nothing; momentum the other way",
        OneCycleOptions,
        "https://arxiv.org/abs/1708.07120",
    ),
    Component(
        "plateau",
        "clsfit_standard.schedulers.plateau:Plateau",
        "lowers the rate when the monitored value stops improving",
        PlateauOptions,
    ),
)
