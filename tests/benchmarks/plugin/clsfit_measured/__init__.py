"""The benchmarks' plugin: the peers' network, torch's own optimizers, and callbacks that take the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clsfit import Component, hookimpl


@dataclass(eq=False, repr=False)
class TorchSGDOptions:
    lr: float = 0.05
    momentum: float = 0.9


@dataclass(eq=False, repr=False)
class DrainOptions:
    passes: int = 3


@hookimpl
def clsfit_models() -> Iterator[Component]:
    yield Component("three_convolutions", "clsfit_measured.parts:three_convolutions", "the peers' small network")


@hookimpl
def clsfit_optimizers() -> Iterator[Component]:
    yield Component("torch_sgd", "clsfit_measured.parts:TorchSGD", "torch.optim.SGD", TorchSGDOptions)


@hookimpl
def clsfit_callbacks() -> Iterator[Component]:
    for letter in "abc":
        yield Component(f"listener_{letter}", "clsfit_measured.parts:Listener", "listens at every step")
    yield Component("clock", "clsfit_measured.parts:Clock", "takes the time of epochs")
    yield Component("drain", "clsfit_measured.parts:Drain", "takes batches, trains nothing", DrainOptions)
