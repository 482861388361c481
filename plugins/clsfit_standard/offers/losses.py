"""The losses on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(eq=False, repr=False)
class FocalOptions:
    gamma: Annotated[float, "how much easy samples count less; 0 is cross entropy", Ge(0)] = 2.0


@dataclass(eq=False, repr=False)
class LabelSmoothingOptions:
    smoothing: Annotated[
        float, "share of the target spread evenly over all classes; 0 is cross entropy", Ge(0), Lt(1)
    ] = 0.1


@dataclass(eq=False, repr=False)
class SoftF1Options:
    cross_entropy: Annotated[float, "share of cross entropy blended in; 0 is soft F1 alone", Ge(0), Le(1)] = 0.0


@dataclass(eq=False, repr=False)
class ClassBalancedOptions:
    beta: Annotated[float, "the nearer to 1, the more rare classes count; 0 is no weights", Ge(0), Lt(1)] = 0.999
    gamma: Annotated[float, "as of the focal loss; 0 is cross entropy", Ge(0)] = 0.0


@dataclass(eq=False, repr=False)
class LogitAdjustedOptions:
    tau: Annotated[float, "how much of the imbalance is taken out; 0 is cross entropy", Ge(0)] = 1.0


@dataclass(eq=False, repr=False)
class LDAMOptions:
    max_margin: Annotated[float, "margin of the rarest class", Ge(0)] = 0.5
    scale: Annotated[float, "what logits are multiplied by; 30 for cosines", Gt(0)] = 1.0
    reweight_after: Annotated[float, "share of the epochs after which rare classes also weigh more", Ge(0), Le(1)] = 0.8
    beta: Annotated[float, "of these weights, as of class_balanced", Ge(0), Lt(1)] = 0.9999


COMPONENTS = (
    Component(
        "cross_entropy",
        "clsfit_standard.losses.cross_entropy:CrossEntropy",
        "cross entropy, class indices or soft targets",
        NoOptions,
    ),
    Component(
        "focal",
        "clsfit_standard.losses.focal:Focal",
        "cross entropy that looks less at easy samples",
        FocalOptions,
        "https://arxiv.org/abs/1708.02002",
    ),
    Component(
        "label_smoothing",
        "clsfit_standard.losses.label_smoothing:LabelSmoothing",
        "cross entropy against targets that are a little less sure",
        LabelSmoothingOptions,
        "https://arxiv.org/abs/1512.00567",
    ),
    Component(
        "soft_f1",
        "clsfit_standard.losses.soft_f1:SoftF1",
        "one minus the batch's macro F1, counted with probabilities",
        SoftF1Options,
        "https://arxiv.org/abs/2108.10566",
    ),
    Component(
        "class_balanced",
        "clsfit_standard.losses.imbalance:ClassBalanced",
        "focal loss weighted by the effective number of pictures per class",
        ClassBalancedOptions,
        "https://arxiv.org/abs/1901.05555",
    ),
    Component(
        "logit_adjusted",
        "clsfit_standard.losses.imbalance:LogitAdjusted",
        "cross entropy that takes the classes' shares out of the logits",
        LogitAdjustedOptions,
        "https://arxiv.org/abs/2007.07314",
    ),
    Component(
        "balanced_softmax",
        "clsfit_standard.losses.imbalance:BalancedSoftmax",
        "cross entropy whose softmax counts the pictures per class",
        NoOptions,
        "https://arxiv.org/abs/2007.10740",
    ),
    Component(
        "ldam",
        "clsfit_standard.losses.imbalance:LDAM",
        "cross entropy with larger margins for rare classes, weights later",
        LDAMOptions,
        "https://arxiv.org/abs/1906.07413",
    ),
    Component(
        "mse",
        "clsfit_standard.losses.mse:MSE",
        "squared error of the probabilities (Brier score)",
        NoOptions,
        "https://doi.org/10.1175/1520-0493%281950%29078%3C0001:VOFEIT%3E2.0.CO;2",
    ),
)
