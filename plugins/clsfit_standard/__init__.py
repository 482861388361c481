"""The bundled plugin: what clsfit offers out of the box, through the same door as a stranger's.

Nothing here imports torch. Each offer names its factory by a string; the factory's module is
imported when a run selects it. The options of each component are the fields of its dataclass in
:mod:`clsfit_standard.params`.
"""

from __future__ import annotations

from collections.abc import Iterator

from clsfit import Component, hookimpl
from clsfit_standard import params


@hookimpl
def clsfit_losses() -> Iterator[Component]:
    yield Component(
        "cross_entropy",
        "clsfit_standard.losses:CrossEntropy",
        "cross entropy, class indices or soft targets",
        params.NoOptions,
    )
    yield Component(
        "focal",
        "clsfit_standard.losses:Focal",
        "cross entropy that looks less at easy samples",
        params.FocalOptions,
        "https://arxiv.org/abs/1708.02002",
    )


@hookimpl
def clsfit_optimizers() -> Iterator[Component]:
    yield Component(
        "sgd",
        "clsfit_standard.optimizers.sgd:SGD",
        "stochastic gradient descent with momentum",
        params.SGDOptions,
        "https://proceedings.mlr.press/v28/sutskever13.html",
    )
    yield Component(
        "adamw",
        "clsfit_standard.optimizers.adamw:AdamW",
        "Adam with decoupled weight decay",
        params.AdamWOptions,
        "https://arxiv.org/abs/1711.05101",
    )


@hookimpl
def clsfit_schedulers() -> Iterator[Component]:
    yield Component(
        "constant",
        "clsfit_standard.schedulers:Constant",
        "the optimizer's rate, after an optional warm-up",
        params.ConstantOptions,
    )
    yield Component(
        "cosine",
        "clsfit_standard.schedulers:Cosine",
        "half a cosine down to min_lr over the whole run",
        params.CosineOptions,
        "https://arxiv.org/abs/1608.03983",
    )
    yield Component(
        "plateau",
        "clsfit_standard.schedulers:Plateau",
        "lowers the rate when the monitored value stops improving",
        params.PlateauOptions,
    )


@hookimpl
def clsfit_metrics() -> Iterator[Component]:
    yield Component("accuracy", "clsfit_standard.metrics:Accuracy", "share of samples that are right", params.NoOptions)
    yield Component(
        "precision",
        "clsfit_standard.metrics:Precision",
        "right ones among those predicted as a class",
        params.AverageOptions,
    )
    yield Component(
        "recall", "clsfit_standard.metrics:Recall", "found ones among those of a class", params.AverageOptions
    )
    yield Component(
        "f1",
        "clsfit_standard.metrics:F1",
        "harmonic mean of precision and recall",
        params.AverageOptions,
        "https://arxiv.org/abs/1911.03347",
    )


@hookimpl
def clsfit_callbacks() -> Iterator[Component]:
    yield Component(
        "checkpoint",
        "clsfit_standard.callbacks.checkpoint:Checkpoint",
        "saves the run at intervals, the best and the last model each epoch",
        params.CheckpointOptions,
    )
    yield Component(
        "early_stop",
        "clsfit_standard.callbacks.early_stop:EarlyStop",
        "ends the run when the monitored value stops improving",
        params.EarlyStopOptions,
    )
    yield Component(
        "accumulate",
        "clsfit_standard.callbacks.accumulate:Accumulate",
        "adds up the gradients of several batches before each step",
        params.AccumulateOptions,
    )
    yield Component(
        "clip_gradients",
        "clsfit_standard.callbacks.clip_gradients:ClipGradients",
        "limits the norm of the gradients",
        params.ClipGradientsOptions,
        "https://arxiv.org/abs/1211.5063",
    )


@hookimpl
def clsfit_models() -> Iterator[Component]:
    yield Component(
        "small_cnn",
        "clsfit_standard.models.small_cnn:SmallCNN",
        "a few convolutions, for pictures from 4x4 pixels",
        params.SmallCNNOptions,
    )
    yield Component("mlp", "clsfit_standard.models.mlp:MLP", "fully connected layers", params.MLPOptions)
    yield Component(
        "resnet18",
        "clsfit_standard.models.resnet18:resnet18",
        "torchvision's ResNet-18",
        params.ResNet18Options,
        "https://arxiv.org/abs/1512.03385",
    )


@hookimpl
def clsfit_datasets() -> Iterator[Component]:
    yield Component(
        "digits",
        "clsfit_standard.datasets:Digits",
        "1,797 handwritten digits of 8x8 pixels, inside scikit-learn",
        params.NoOptions,
        "https://doi.org/10.24432/C50P49",
    )


@hookimpl
def clsfit_samplers() -> Iterator[Component]:
    yield Component(
        "shuffle",
        "clsfit_standard.samplers:Shuffle",
        "every picture once per epoch, in random order",
        params.NoOptions,
    )


@hookimpl
def clsfit_augments() -> Iterator[Component]:
    yield Component(
        "hflip", "clsfit_standard.augments:HorizontalFlip", "mirrors left and right", params.HorizontalFlipOptions
    )
    yield Component(
        "crop", "clsfit_standard.augments:Crop", "a random window of the padded picture", params.CropOptions
    )


@hookimpl
def clsfit_recipes() -> Iterator[Component]:
    yield Component("default", "clsfit_standard:recipes/default.yaml", "what a run uses where nothing else is said")
