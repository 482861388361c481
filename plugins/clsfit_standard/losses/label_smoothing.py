"""Cross entropy against targets that are a little less sure."""

from __future__ import annotations

from clsfit_standard.losses.cross_entropy import CrossEntropy


class LabelSmoothing(CrossEntropy):
    """Cross entropy with label smoothing (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    The target t becomes ``(1 - smoothing) * t + smoothing / K``, with K the number of logits: every
    class gets the same share, the right one too, so that rows still sum to one. Soft targets are
    smoothed alike. With smoothing 0 it is cross entropy.

    A network trained with it is often better calibrated, but a worse teacher for distillation: what it
    knew of how classes resemble each other is gone (Mueller et al. 2019, https://arxiv.org/abs/1906.02629).

    Args:
        smoothing: share of the target that is spread over all classes, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing
