"""A plugin of the tests of ranks: what they train with, and a callback that looks on."""

from __future__ import annotations

import hashlib
import json
import signal
from typing import Any

import torch
from torch import Tensor, nn

from clsfit import Component, hookimpl
from clsfit.engine.state import attributes, flatten, to_blob

SEEN: list[dict[str, Any]] = []
"""What :class:`LookOn` has noted in this process, a step each."""

SIGNAL: list[int] = []
"""The step, and the rank, at which a SIGTERM comes."""

CLOCK = {"seconds", "train_images_per_second"}


class Net(nn.Module):
    """Two convolutions and a linear layer.

    Args:
        norm: with BatchNorm.
        odd: with a parameter that nobody uses, one that is not trained, and a count that is no float.
    """

    def __init__(
        self, in_channels: int, num_classes: int, norm: bool = False, dropout: float = 0.0, odd: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.second = nn.Conv2d(6, 8, 3, stride=2)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(8, num_classes)
        self.odd = odd
        if odd:
            self.unused = nn.Parameter(torch.ones(3, 2))
            self.still = nn.Parameter(torch.full((num_classes,), 0.25), requires_grad=False)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.second(self.norm(self.first(images)).relu()).relu().mean((2, 3))
        logits: Tensor = self.last(self.drop(hidden))
        if self.odd:
            self.calls += self.training
            return logits + self.still
        return logits


class ScalarMean(nn.Module):
    """Cross entropy as one number, the mean over the batch."""

    soft_targets = True

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets)


class Learnt(nn.Module):
    """Cross entropy with a temperature that is trained with the model."""

    soft_targets = True

    def __init__(self) -> None:
        super().__init__()
        self.heat = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits * self.heat, targets, reduction="none")


class SAM(torch.optim.SGD):
    """Sharpness-aware minimisation: the gradient a step of length ``rho`` uphill."""

    needs_closure = True

    def __init__(self, params: Any, lr: float = 0.1, rho: float = 0.05) -> None:
        super().__init__(params, lr=lr, momentum=0.9)
        self.rho = rho

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        length = torch.stack([p.grad.norm() for p in moved]).norm() + 1e-12
        ways = [p.grad * (self.rho / length) for p in moved]
        for parameter, way in zip(moved, ways, strict=True):
            parameter += way
        closure()
        for parameter, way in zip(moved, ways, strict=True):
            parameter -= way
        super().step()


class LookOn:
    """Notes, of each step, a hash of all state, and which gradients there were; their values too, if asked."""

    def __init__(self, gradients: bool = False) -> None:
        self.gradients, self._missing, self._values = gradients, [], {}

    @hookimpl
    def on_gradients(self, run: Any) -> None:
        names = {id(p): name for module in (run.model, run.loss) for name, p in module.named_parameters()}
        named = {names[id(parameter)]: parameter.grad for parameter in run.parameters}
        self._missing = [name for name, gradient in named.items() if gradient is None]
        if self.gradients:
            self._values = {n: g.flatten().tolist() for n, g in named.items() if g is not None}

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        tensors: dict[str, Tensor] = {}
        modules = {"model": run.model, "loss": run.loss, "judged": run.judged}
        for name, module in modules.items():
            tensors |= {
                f"{name}.{key}": tensor for key, tensor in [*module.named_parameters(), *module.named_buffers()]
            }
        rest = {"optimizer": run.optimizer, "scheduler": run.scheduler, "precision": run.precision}
        plain = {name: flatten(attributes(thing), name, tensors) for name, thing in rest.items()}
        noted = {"step": run.step, "bits": sha256(to_blob(tensors), json.dumps([plain, run.lr]).encode())}
        SEEN.append(noted | {"missing": self._missing, "gradients": self._values})
        if [run.step, run.ranks.rank] == SIGNAL:
            run.interrupt = signal.SIGTERM

    @hookimpl
    def on_epoch_end(self, run: Any) -> None:
        lasting = {key: value for key, value in run.scores.items() if key not in CLOCK}
        SEEN.append({"epoch": run.epoch, "scores": lasting, "best": run.best.step, "stop": run.stop_reason})


@hookimpl
def clsfit_models() -> Any:
    yield Component("net", "rank_plugin:Net", "of a test")


@hookimpl
def clsfit_losses() -> Any:
    yield Component("scalar_mean", "rank_plugin:ScalarMean", "of a test")
    yield Component("learnt", "rank_plugin:Learnt", "of a test")


@hookimpl
def clsfit_optimizers() -> Any:
    yield Component("sam", "rank_plugin:SAM", "of a test")


@hookimpl
def clsfit_callbacks() -> Any:
    yield Component("look_on", "rank_plugin:LookOn", "of a test")


def sha256(*blobs: bytes) -> str:
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()
