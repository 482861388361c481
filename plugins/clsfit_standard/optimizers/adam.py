"""Adam; on CPU the very bits of ``torch.optim.Adam``."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from clsfit_standard.optimizers.base import LightOptimizer, laid_out


class Adam(LightOptimizer):
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980), with an L2 penalty.

    The penalty's gradient ``weight_decay * w`` joins the loss's, and so is divided by the root of the
    squared gradient's mean as well; AdamW decays all weights alike.

    Args:
        params: groups ``{"params": tensors}``, each with its own ``lr``, ``betas``, ``eps`` and
            ``weight_decay`` if it wants to.
        lr: learning rate, >= 0.
        betas: decay per step of the means of gradient and squared gradient, each in [0, 1).
        eps: added to the root of the squared gradient's mean, >= 0.
        weight_decay: L2 penalty, >= 0.
    """

    rule = itemgetter("lr", "betas", "eps")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    kernel = staticmethod(torch._fused_adam_)
    """The fused kernel, which does the weight decay in its own way."""

    def foreach(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        self._begin(parameters, states)
        for state in states:
            state["step"] += 1
        means = [s["exp_avg"] for s in states]
        squares = [s["exp_avg_sq"] for s in states]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, self.scalar(beta2))
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        counts = [s["step"] for s in states]
        if counts.count(counts[0]) == len(counts):
            torch._foreach_div_(roots, self.scalar((1 - beta2 ** counts[0]) ** 0.5))
        else:
            torch._foreach_div_(roots, [(1 - beta2**count) ** 0.5 for count in counts])
        torch._foreach_add_(roots, [self.scalar(group["eps"])] * len(roots))
        torch._foreach_addcdiv_(parameters, means, roots, [-(lr / (1 - beta1**count)) for count in counts])

    def fused(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        self._begin(parameters, states)
        steps = [s["step"] for s in states]
        torch._foreach_add_(steps, 1)
        amp = self.amp_arguments()
        self.kernel(
            parameters,
            laid_out(gradients, parameters),
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            **amp,
        )
        if amp["found_inf"] is not None:
            torch._foreach_sub_(steps, [amp["found_inf"]] * len(steps))  # a skipped step does not count

    def restored(self, parameter: Tensor, name: str, value: Any) -> Any:
        """As the base class; the count of steps is moved between host and device where they differ."""
        if name == "step":
            return self._count(parameter, float(value))
        return super().restored(parameter, name, value)

    def _begin(self, parameters: list[Tensor], states: list[dict[str, Any]]) -> None:
        for p, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = self._count(p, 0.0)
                state["exp_avg"] = torch.zeros_like(p)
                state["exp_avg_sq"] = torch.zeros_like(p)

    def _count(self, parameter: Tensor, value: float) -> float | Tensor:
        """The number of steps: on the device for the fused kernel, which must not wait for the host."""
        if self._step_supports_amp_scaling:
            return torch.full((), value, dtype=torch.float32, device=parameter.device)
        return value
