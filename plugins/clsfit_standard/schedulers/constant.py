"""One rate for the whole run, and what all schedulers share: counter and warm-up."""

from __future__ import annotations

from typing import Any


class Constant:
    """The base rate, after a linear warm-up.

    Args:
        optimizer: its ``param_groups`` get their first rate here.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up in epochs, >= 0.
        warmup_steps: the same in optimizer steps, >= 0; one of the two at most.
    """

    when: str | tuple[str, ...] = "step"
    graph_safe = True  # it changes learning rates only

    def __init__(self, optimizer: Any, steps_per_epoch: int, warmup_epochs: float = 0.0, warmup_steps: int = 0) -> None:
        self.optimizer = optimizer
        self.base = [float(group["lr"]) for group in optimizer.param_groups]
        self.warmup = warmup_steps or round(warmup_epochs * steps_per_epoch)
        self.steps = 0
        self.set_rates()

    def step(self, value: float | None = None) -> None:
        """Counts one optimizer step and sets the rate of the next."""
        self.steps += 1
        self.set_rates()

    def rate(self, base: float) -> float:
        """The rate of step ``self.steps``, past the warm-up, in a group of base rate ``base``."""
        return base

    def set_rates(self) -> None:
        """Writes the rate of step ``self.steps`` into every group."""
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            warming = self.steps < self.warmup
            group["lr"] = base * (self.steps + 1) / self.warmup if warming else self.rate(base)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])
