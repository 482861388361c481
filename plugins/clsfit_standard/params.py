"""The options of each bundled component: types, bounds, defaults and help, without torch.

A field ``name: Annotated[type, "help", bounds...] = default`` is the option ``--SLOT.name``. What
bounds cannot say is checked by ``__post_init__``, whose ValueError becomes the usage error.
Counts carry their unit in the name or in the help text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A component without options."""


@dataclass(frozen=True, slots=True)
class FocalOptions:
    gamma: Annotated[float, "how much easy samples count less; 0 is cross entropy", Ge(0)] = 2.0


@dataclass(frozen=True, slots=True)
class SGDOptions:
    lr: Annotated[float, "learning rate", Ge(0)] = 0.05
    momentum: Annotated[float, "share of the last step that is kept; 0 keeps none", Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, "L2 penalty, added to the gradient; not on norms and biases", Ge(0)] = 1e-4
    nesterov: Annotated[bool, "look ahead by the momentum (needs momentum above 0)"] = False

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")


@dataclass(frozen=True, slots=True)
class AdamWOptions:
    lr: Annotated[float, "learning rate", Ge(0)] = 1e-3
    betas: Annotated[
        tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]],
        "decay per step of the means of gradient and squared gradient",
    ] = (0.9, 0.999)
    eps: Annotated[float, "added to the root of the squared gradient's mean", Ge(0)] = 1e-8
    weight_decay: Annotated[float, "share of a weight lost per step, times lr; not on norms and biases", Ge(0)] = 0.01


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


@dataclass(frozen=True, slots=True)
class AverageOptions:
    average: Annotated[
        Literal["macro", "micro", "weighted"],
        "over classes equally, over all samples at once, or over classes by their number of samples",
    ] = "macro"
    zero_division: Annotated[int, "value where the denominator is 0: 0 or 1", Ge(0), Le(1)] = 0


@dataclass(frozen=True)
class CheckpointOptions:
    monitor: Annotated[str | None, "key of metrics.jsonl that makes a model the best; none: first val/<metric>"] = None
    every_steps: Annotated[int | None, "save after so many optimizer steps; none: not by steps", Ge(1)] = None
    every_epochs: Annotated[int | None, "save after so many epochs; none: not by epochs", Ge(1)] = None
    every_seconds: Annotated[
        float | None, "save at the first step so many seconds after the last save; none: not by time", Gt(0)
    ] = 60.0

    free_on_resume: ClassVar[frozenset[str]] = frozenset({"every_steps", "every_epochs", "every_seconds"})


@dataclass(frozen=True, slots=True)
class EarlyStopOptions:
    monitor: Annotated[str | None, "key of metrics.jsonl to watch, such as val/loss; none: the run's monitor"] = None
    patience: Annotated[int, "stop after exactly so many epochs in a row without improvement", Ge(1)] = 10
    min_delta: Annotated[float, "least change that counts as improvement, in the monitor's unit", Ge(0)] = 0.0


@dataclass(frozen=True, slots=True)
class AccumulateOptions:
    steps: Annotated[int, "batches per optimizer step", Ge(1)]


@dataclass(frozen=True, slots=True)
class ClipGradientsOptions:
    max_norm: Annotated[float, "largest Euclidean norm of all gradients together", Gt(0)] = 1.0


@dataclass(frozen=True, slots=True)
class SmallCNNOptions:
    width: Annotated[int, "channels of the first convolution", Ge(1)] = 32
    dropout: Annotated[float, "probability of dropping a feature before the last layer", Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True)
class MLPOptions:
    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], "units of each hidden layer; empty: a linear model"] = (128,)
    dropout: Annotated[float, "probability of dropping a unit of a hidden layer", Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True)
class ResNet18Options:
    stem: Annotated[
        Literal["imagenet", "small"],
        "first layers: 7x7 with stride 4 for photographs, or 3x3 with stride 1 for pictures below 65 pixels",
    ] = "imagenet"


@dataclass(frozen=True, slots=True)
class HorizontalFlipOptions:
    p: Annotated[float, "probability of a flip", Ge(0), Le(1)] = 0.5


@dataclass(frozen=True, slots=True)
class CropOptions:
    padding: Annotated[int, "black border on each side, in pixels of the model's input", Ge(0)] = 4
