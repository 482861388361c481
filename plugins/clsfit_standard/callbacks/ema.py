"""An exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from clsfit import hookimpl

if TYPE_CHECKING:
    from clsfit.engine.run import Run


class EMA:
    """Keeps an average of the weights of late steps, which validation judges and the model files hold.

    After each optimizer step ``average += (1 - d) * (weights - average)``; with warm-up
    ``d = min(decay, (1 + n) / (10 + n))`` after n steps, so that the first weights are soon forgotten
    (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; the warm-up as in Szegedy et al.'s
    Inception training). Buffers of floating type (the statistics of BatchNorm) are averaged too, others
    are copied. The trained weights themselves are in ``last.raw.safetensors``.

    Args:
        decay: d, in (0, 1).
        warmup: whether d grows from 0.1 to ``decay``.

    Attributes:
        averaged: the model with the average; None before the run starts.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        self.decay, self.warmup = decay, warmup
        self.averaged: torch.nn.Module | None = None
        self._updates = 0
        self._loaded: dict[str, torch.Tensor] | None = None
        self._pairs: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        self._copied: list[tuple[torch.Tensor, torch.Tensor]] = []

    @hookimpl
    def on_fit_start(self, run: Run) -> None:
        self.averaged = copy.deepcopy(run.model)
        self.averaged.requires_grad_(False)
        own, theirs = self.averaged.state_dict(), run.model.state_dict()
        # a tensor that layers share has several names, and moves once a step
        once = {(tensor.data_ptr(), tensor.shape): name for name, tensor in own.items()}.values()
        mixed = [name for name in once if own[name].is_floating_point()]
        self._pairs = [own[name] for name in mixed], [theirs[name] for name in mixed]
        self._copied = [(own[name], theirs[name]) for name in once if name not in mixed]
        if self._loaded is not None:
            self._fill(self._loaded)
            self._loaded = None

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates)) if self.warmup else self.decay
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1 - decay)
            for own, theirs in self._copied:
                own.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """The average's tensors by name, and how often it was updated."""
        tensors = {} if self.averaged is None else dict(self.averaged.state_dict())
        return {"updates": self._updates, "average": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; before the run starts the tensors wait for the model.

        Raises:
            ValueError: the tensors are not this model's.
        """
        self._updates = state["updates"]
        if self.averaged is None:
            self._loaded = state["average"]
        else:
            self._fill(state["average"])

    def _fill(self, tensors: dict[str, torch.Tensor]) -> None:
        assert self.averaged is not None
        own = self.averaged.state_dict()
        if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tensors.items()}:
            raise ValueError("the average is of another model")
        for name, tensor in tensors.items():  # copied in place: a file keeps no memory format
            own[name].copy_(tensor)
