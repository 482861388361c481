"""Limiting the length of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class ClipGradients:
    """Scales all gradients down together when their norm is above ``max_norm``.

    Pascanu et al. 2013, https://arxiv.org/abs/1211.5063; the numbers are those of
    ``torch.nn.utils.clip_grad_norm_``. The host never waits for the device.

    Args:
        max_norm: largest Euclidean norm of all gradients taken as one vector, > 0.
    """

    graph_safe = True  # all of it is computed on the device

    def __init__(self, max_norm: float = 1.0) -> None:
        self.max_norm = max_norm

    @hookimpl
    def on_gradients(self, run: Run) -> None:
        gradients = [p.grad for p in run.parameters if p.grad is not None]
        if not gradients:
            return
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0)))
        torch._foreach_mul_(gradients, (self.max_norm / (norm + 1e-6)).clamp(max=1.0))
