"""The optimizers on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from clsfit import Component


@dataclass(eq=False, repr=False)
class SGDOptions:
    lr: Annotated[float, "learning rate", Ge(0)] = 0.05
    momentum: Annotated[float, "share of the last step that is kept; 0 keeps none", Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, "L2 penalty, added to the gradient; not on norms and biases", Ge(0)] = 1e-4
    nesterov: Annotated[bool, "look ahead by the momentum (needs momentum above 0)"] = False

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")


@dataclass(eq=False, repr=False)
class AdamOptions:
    lr: Annotated[float, "learning rate", Ge(0)] = 1e-3
    betas: Annotated[
        tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]],
        "decay per step of the means of gradient and squared gradient",
    ] = (0.9, 0.999)
    eps: Annotated[float, "added to the root of the squared gradient's mean", Ge(0)] = 1e-8
    weight_decay: Annotated[float, "L2 penalty, added to the gradient; not on norms and biases", Ge(0)] = 0.0


@dataclass(eq=False, repr=False)
class AdamWOptions(AdamOptions):
    weight_decay: Annotated[float, "share of a weight lost per step, times lr; not on norms and biases", Ge(0)] = 0.01


COMPONENTS = (
    Component(
        "sgd",
        "clsfit_standard.optimizers.sgd:SGD",
        "stochastic gradient descent with momentum",
        SGDOptions,
        "https://proceedings.mlr.press/v28/sutskever13.html",
    ),
    Component(
        "adam",
        "clsfit_standard.optimizers.adam:Adam",
        "Adam with an L2 penalty",
        AdamOptions,
        "https://arxiv.org/abs/1412.6980",
    ),
    Component(
        "adamw",
        "clsfit_standard.optimizers.adamw:AdamW",
        "Adam with decoupled weight decay",
        AdamWOptions,
        "https://arxiv.org/abs/1711.05101",
    ),
)
