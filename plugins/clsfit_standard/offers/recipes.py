"""The recipes on offer."""

from __future__ import annotations

from clsfit import Component

COMPONENTS = (
    Component("default", "clsfit_standard:recipes/default.yaml", "what a run uses where nothing else is said"),
    Component(
        "cifar-speed",
        "clsfit_standard:recipes/cifar-speed.yaml",
        "CIFAR-10 in 16 short epochs on a GPU: the network and the rates of the paper",
        paper="https://arxiv.org/abs/2404.00498",
    ),
)
