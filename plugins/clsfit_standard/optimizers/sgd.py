"""Stochastic gradient descent with momentum; on CPU the very bits of ``torch.optim.SGD``."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from clsfit_standard.optimizers.base import LightOptimizer, laid_out

_BUFFER = "momentum_buffer"


class SGD(LightOptimizer):
    """SGD with momentum, optionally Nesterov's (Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html).

    ``b = momentum * b + g`` with ``g = gradient + weight_decay * w``, then ``w -= lr * b``;
    Nesterov: ``w -= lr * (g + momentum * b)``. The first b is g.

    Args:
        params: groups ``{"params": tensors}``, each with its own ``lr``, ``momentum``,
            ``weight_decay`` and ``nesterov`` if it wants to.
        lr: learning rate, >= 0.
        momentum: in [0, 1).
        weight_decay: L2 penalty, >= 0.
        nesterov: needs momentum above 0.
    """

    rule = itemgetter("lr", "momentum", "nesterov")

    def __init__(
        self,
        params: Any,
        lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        nesterov: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults)

    def foreach(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        momentum = group["momentum"]
        if momentum != 0:
            try:
                buffers = [s[_BUFFER] for s in states]
            except KeyError:
                buffers = _begun(parameters, gradients, states, momentum)
            else:
                torch._foreach_mul_(buffers, self.scalar(momentum))
                torch._foreach_add_(buffers, gradients)
            gradients = list(torch._foreach_add(gradients, buffers, alpha=momentum)) if group["nesterov"] else buffers
        torch._foreach_add_(parameters, gradients, alpha=-group["lr"])

    def fused(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        buffers: list[Tensor] = []
        if group["momentum"] != 0:
            for p, s in zip(parameters, states, strict=True):
                if _BUFFER not in s:
                    # Zeros instead of the kernel's is_first_step: that leaves the buffer undefined when
                    # the very first step is skipped.
                    s[_BUFFER] = torch.zeros_like(p)
            buffers = [s[_BUFFER] for s in states]
        torch._fused_sgd_(
            parameters,
            laid_out(gradients, parameters),
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=False,
            **self.amp_arguments(),
        )


def _begun(
    parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]], momentum: float
) -> list[Tensor]:
    """The buffers after this step, where some parameter has its first gradient."""
    for p, s, g in zip(parameters, states, gradients, strict=True):
        if _BUFFER in s:
            s[_BUFFER].mul_(momentum).add_(g)
        else:
            s[_BUFFER] = torch.empty_like(p).copy_(g)
    return [s[_BUFFER] for s in states]
