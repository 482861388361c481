"""Loss and gradients of a step evaluated again, for optimizers such as SAM and L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from clsfit.engine.device import reseed
from clsfit.engine.infer import loss_sum, takes_images
from clsfit.keyed import step_seed

if TYPE_CHECKING:
    from clsfit.engine.divergence import Watch
    from clsfit.engine.run import Run
    from clsfit.pipeline.batches import Window
    from clsfit.pipeline.loader import Batch


class Closure:
    """Evaluates loss and gradients of a window again, for optimizers that ask for it.

    What holds for the first gradients holds for these: they are checked before the optimizer sees
    them, which costs one read each, and callbacks may change them in ``on_gradients``.

    Args:
        run: whose step it is.
        watch: reads the flags.
        forward: logits [B, K] from images [B, C, H, W], as the first evaluation had them.

    Attributes:
        arguments: what the optimizer's ``step`` is called with: this, where it ``needs_closure``.
        batches: the micro-batches of the current step; empty where no optimizer needs them.
        window: the current step.
    """

    window: Window

    def __init__(self, run: Run, watch: Watch, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.run, self.watch, self._forward = run, watch, forward
        self.arguments = (self,) if getattr(run.optimizer, "needs_closure", False) else ()
        self.batches: list[Batch] = []
        self._reduce = run.ranks.reducer(run)
        self._seed = run.ranks.seed(run.seed)
        self._on_gradients = run.hooks.teller("on_gradients")
        self._with_images = takes_images(run.loss)

    @torch.enable_grad()
    def __call__(self) -> torch.Tensor:
        """The mean loss per sample, scalar; gradients are set, dropout draws as it did before.

        Raises:
            DivergedError: the loss or a gradient is not finite.
        """
        mean = self._evaluated()
        while self.watch.overflowed():  # at half the scale, then
            mean = self._evaluated()
        if self._on_gradients:
            self._on_gradients(run=self.run)
        return mean

    def _evaluated(self) -> torch.Tensor:
        run, samples = self.run, self.window.samples
        run.optimizer.zero_grad()
        reseed(run.device, step_seed(self._seed, run.step))
        totals = []
        for batch in self.batches:
            with run.precision.autocast():
                logits = self._forward(batch.images)
            extra = {"images": batch.images} if self._with_images else {}
            values = run.loss(logits.float(), batch.targets, **extra)
            run.precision.backward(values, batch.weights, len(batch.rows), samples)
            totals.append(loss_sum(values.detach(), batch))
        if self._reduce:
            totals = self._reduce(totals, self.window)
        run.precision.check([p.grad for p in run.parameters if p.grad is not None], totals)
        return torch.stack(totals).sum() / samples
