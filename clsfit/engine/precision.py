"""Number formats as values: one step path serves fp32, bf16 and fp16.

The forward pass runs under autocast, weights and losses stay float32. fp16 gradients are scaled by a
dynamic factor (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740); for the other formats the
factor is 1. Whether a loss or a gradient is finite is a flag on the device, so that nothing waits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from clsfit.errors import ResourceError

_engine: Any = getattr(torch.autograd.graph, "_engine_run_backward", None)
"""What torch.autograd.backward calls, where this torch has it: it is no promise. What that does before takes a tenth
of a small model's step, and with a gradient given it imports sympy."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose(name: str, device: torch.device) -> str:
    """The format called ``name``; ``auto`` is bf16 where CUDA has it, else fp32.

    Raises:
        ResourceError: the device cannot compute in that format.
    """
    bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if name == "auto":
        return "bf16" if device.type == "cuda" and bf16 else "fp32"
    if name == "bf16" and not bf16:
        raise ResourceError("this GPU has no bf16", "option --precision", "use --precision fp16 or fp32")
    return name


class Precision:
    """Autocast, the gradients' scale, and the non-finite flags of the current step.

    Attributes:
        name: fp32, bf16 or fp16.
        found: float32 [1] on the device, not 0 where this step's gradients or loss are not finite.
        diverged: float32 [1], as ``found``, less what an overflow of fp16's scale explains; a scale
            that has fallen to 1 explains none.
    """

    growth, backoff, interval = 2.0, 0.5, 2000  # as published for mixed precision

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self._scales = name == "fp16"
        self._plain = nullcontext()
        self._scale = torch.full((1,), 65536.0 if self._scales else 1.0, device=device)
        self._good = torch.zeros(1, device=device)
        self._one = torch.ones(1, device=device)
        self._seeds: dict[Any, torch.Tensor] = {}
        self.found = torch.zeros(1, device=device)
        self.diverged = self.found
        self._unset = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass; it may be entered again and again."""
        if self.name == "fp32":
            return self._plain
        return torch.autocast(self.device.type, _DTYPES[self.name])

    def backward(self, values: torch.Tensor, weights: torch.Tensor | None, batch: int, samples: int) -> None:
        """Adds to the gradients: of the values' sum over ``samples``, times the scale.

        Args:
            values: [B], a loss per sample, or a scalar, their mean.
            weights: [B], of the samples, or None; None where ``values`` is a scalar.
            batch: B.
            samples: of the whole optimizer step.
        """
        key = values.shape, values.dtype, batch, samples
        seed = self._seeds.get(key)
        if seed is None:  # sizes of batches are few
            one = torch.ones((), dtype=values.dtype, device=values.device)
            seed = one / samples * batch if values.ndim == 0 else (one / samples).expand(batch)
            self._seeds[key] = seed
        if weights is not None:
            seed = (seed * weights).to(values.dtype)
        if self._scales:
            seed = (seed * self._scale.squeeze()).to(values.dtype)
        if _engine is None:
            torch.autograd.backward((values,), (seed,))
        else:
            _engine((values,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)

    def check(self, gradients: list[torch.Tensor], losses: list[torch.Tensor]) -> None:
        """Unscales ``gradients`` in place and sets the flags from them and the ``losses`` (scalars, detached)."""
        if not self._unset:
            self.found = torch.zeros(1, device=self.device)
            self.diverged = torch.zeros(1, device=self.device) if self._scales else self.found
        self._unset = False
        if not self._scales:
            _check(gradients + losses, self.found, self._one)
        else:
            _check(gradients, self.found, self._scale.reciprocal())
            _check(losses, self.diverged, self._one)
            torch.maximum(self.diverged, self.found * (self._scale <= 1.0), out=self.diverged)
            torch.maximum(self.found, self.diverged, out=self.found)
            bad = self.found > 0
            good = torch.where(bad, 0.0, self._good + 1)
            grow = good >= self.interval
            # in place: a CUDA graph reads and writes the same memory at every replay
            self._good.copy_(torch.where(grow, 0.0, good))
            self._scale.mul_(torch.where(bad, self.backoff, torch.where(grow, self.growth, 1.0)))

    def reuse(self) -> None:
        """Says that the flags were read, are not set, and are kept by nobody: the next check takes their memory."""
        self._unset = True

    def state_dict(self) -> dict[str, Any]:
        """The scale and the good steps since it last changed."""
        return {"scale": self._scale, "good": self._good} if self._scales else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        if self._scales and state:
            self._scale.copy_(state["scale"])
            self._good.copy_(state["good"])


def _check(tensors: list[torch.Tensor], found: torch.Tensor, inverse: torch.Tensor) -> None:
    """Multiplies ``tensors`` by ``inverse`` in place, and sets ``found`` to 1 where a value is not finite."""
    if not tensors:
        return
    if found.device.type == "mps":  # no kernel of the fused check there
        for tensor in tensors:
            found.add_((~tensor.isfinite()).any())
            tensor.mul_(inverse.to(tensor.dtype).squeeze())
        return
    # torch.amp.GradScaler's own kernel: 1.4 µs on a CPU where isfinite per tensor costs tens
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, inverse)
