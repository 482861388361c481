"""The callbacks on offer, with their options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from clsfit import Component


@dataclass(eq=False, repr=False)
class CheckpointOptions:
    monitor: Annotated[str | None, "key of metrics.jsonl that makes a model the best; none: first val/<metric>"] = None
    every_steps: Annotated[int | None, "save after so many optimizer steps; none: not by steps", Ge(1)] = None
    every_epochs: Annotated[int | None, "save after so many epochs; none: not by epochs", Ge(1)] = None
    every_seconds: Annotated[
        float | None, "save at the first step so many seconds after the last save; none: not by time", Gt(0)
    ] = 60.0

    free_on_resume: ClassVar[frozenset[str]] = frozenset({"every_steps", "every_epochs", "every_seconds"})


@dataclass(eq=False, repr=False)
class EarlyStopOptions:
    monitor: Annotated[str | None, "key of metrics.jsonl to watch, such as val/loss; none: the run's monitor"] = None
    patience: Annotated[int, "stop after exactly so many epochs in a row without improvement", Ge(1)] = 10
    min_delta: Annotated[float, "least change that counts as improvement, in the monitor's unit", Ge(0)] = 0.0


@dataclass(eq=False, repr=False)
class AccumulateOptions:
    steps: Annotated[int, "batches per optimizer step", Ge(1)]


@dataclass(eq=False, repr=False)
class ClipGradientsOptions:
    max_norm: Annotated[float, "largest Euclidean norm of all gradients together", Gt(0)] = 1.0


@dataclass(eq=False, repr=False)
class FreezeOptions:
    pattern: Annotated[
        str | None, "regular expression searched in the parameters' names; none: all but the last layer"
    ] = None
    unfreeze_epoch: Annotated[
        int | None, "epoch, counted from 1, from which on everything is trained; none: never", Ge(2)
    ] = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None


@dataclass(eq=False, repr=False)
class EMAOptions:
    decay: Annotated[float, "share of the average that each step keeps", Gt(0), Lt(1)] = 0.999
    warmup: Annotated[bool, "begin with a lower decay, (1 + n) / (10 + n) after n steps"] = True


@dataclass(eq=False, repr=False)
class WhitenOptions:
    pictures: Annotated[int, "training pictures that patches are taken of", Ge(1)] = 5000
    eps: Annotated[float, "added to each pattern's mean square, so that rare ones are not blown up", Gt(0)] = 5e-4


@dataclass(eq=False, repr=False)
class CudnnBenchmarkOptions:
    pass


@dataclass(eq=False, repr=False)
class RollbackOptions:
    factor: Annotated[float, "what the learning rates are multiplied by at each return", Gt(0), Lt(1)] = 0.5
    times: Annotated[int, "returns in a whole run; one more divergence ends it", Ge(1)] = 3


COMPONENTS = (
    Component(
        "checkpoint",
        "clsfit_standard.callbacks.checkpoint:Checkpoint",
        "saves the run at intervals, the best and the last model each epoch",
        CheckpointOptions,
    ),
    Component(
        "early_stop",
        "clsfit_standard.callbacks.early_stop:EarlyStop",
        "ends the run when the monitored value stops improving",
        EarlyStopOptions,
    ),
    Component(
        "accumulate",
        "clsfit_standard.callbacks.accumulate:Accumulate",
        "adds up the gradients of several batches before each step",
        AccumulateOptions,
    ),
    Component(
        "clip_gradients",
        "clsfit_standard.callbacks.clip_gradients:ClipGradients",
        "limits the norm of the gradients",
        ClipGradientsOptions,
        "https://arxiv.org/abs/1211.5063",
    ),
    Component(
        "freeze",
        "clsfit_standard.callbacks.freeze:Freeze",
        "trains the last layer only, or all but what a pattern names; until an epoch, or for good",
        FreezeOptions,
    ),
    Component(
        "ema",
        "clsfit_standard.callbacks.ema:EMA",
        "averages the weights of late steps; validation judges the average, the model files hold it",
        EMAOptions,
        "https://doi.org/10.1137/0330046",
    ),
    Component(
        "whiten",
        "clsfit_standard.callbacks.whiten:Whiten",
        "sets the first convolution, before step 0, so that it whitens the pictures' patches",
        WhitenOptions,
        "https://arxiv.org/abs/2404.00498",
    ),
    Component(
        "cudnn_benchmark",
        "clsfit_standard.callbacks.cudnn_benchmark:CudnnBenchmark",
        "lets cuDNN try its kernels and keep the fastest; runs may then differ in the last bits",
        CudnnBenchmarkOptions,
    ),
    Component(
        "rollback",
        "clsfit_standard.callbacks.rollback:Rollback",
        "after a divergence returns to the last good checkpoint with a lower learning rate",
        RollbackOptions,
    ),
)
