"""Adam with decoupled weight decay; on CPU the very bits of ``torch.optim.AdamW``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clsfit_standard.optimizers.adam import Adam


class AdamW(Adam):
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    Args:
        params: groups ``{"params": tensors}``, each with its own ``lr``, ``betas``, ``eps`` and
            ``weight_decay`` if it wants to.
        lr: learning rate, >= 0.
        betas: decay per step of the means of gradient and squared gradient, each in [0, 1).
        eps: added to the root of the squared gradient's mean, >= 0.
        weight_decay: share of a weight lost per step, times lr; >= 0.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def decay(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        torch._foreach_mul_(parameters, self.scalar(1 - group["lr"] * group["weight_decay"]))
        return gradients

    kernel = staticmethod(torch._fused_adamw_)
