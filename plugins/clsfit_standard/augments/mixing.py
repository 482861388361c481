"""Augmentations that join each sample with the next one of its micro-batch, targets included.

A partner is never the sample itself, but in a batch of one sample, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsfit.keyed import Key
from clsfit_standard.augments.device import sent

Parameters = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]


class _Mixing:
    """What the two have in common: the draw of a share, and what it does to targets and weights.

    Targets become float32 [B, K] whose rows sum to one; soft targets, such as another mixing made, are
    mixed again. A sample's weight becomes the mean of the two samples' by the same share, as the target
    does: half of the samples are more the partner than themselves, and would count with a stranger's weight.
    """

    soft_targets = True

    def __init__(self, num_classes: int, alpha: float, p: float) -> None:
        self.num_classes, self.alpha, self.p = num_classes, alpha, p

    def share(self, drawn: Floats) -> Floats:
        """[N] float64 from ``drawn`` [N, 2] uniform: Beta(alpha, alpha) with probability p, else 1: unmixed."""
        return np.where(drawn[:, 1] < self.p, beta_quantile(drawn[:, 0], self.alpha), 1.0)

    def targets(self, targets: torch.Tensor, parameters: Parameters) -> torch.Tensor:
        """[B, K] float32 from [B] int64 or [B, K] float."""
        if not targets.is_floating_point():
            hot = torch.zeros(len(targets), self.num_classes, device=targets.device)
            targets = hot.scatter_(1, targets[:, None], 1.0)  # float32 at once, as F.one_hot's are int64
        return self._mean(targets, parameters)

    def weigh(self, weights: torch.Tensor, parameters: Parameters) -> torch.Tensor:
        """[B] float: the samples' weights, mixed as their targets."""
        return self._mean(weights, parameters)

    def _mean(self, values: torch.Tensor, parameters: Parameters) -> torch.Tensor:
        share = _column(parameters["share"], values)
        return values * share + values.roll(-1, 0) * (1 - share)


class MixUp(_Mixing):
    """Blends each sample with the next one (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).

    The sample's share lambda is drawn from Beta(alpha, alpha), for each sample by itself; pictures and
    targets are blended by it. Pictures are rounded to grey levels.

    Args:
        num_classes: K.
        alpha: > 0; below 1 most samples stay near one of the two, 1 is uniform, above 1 most are half and half.
        p: probability that a sample is mixed, in [0, 1].
    """

    def __init__(self, num_classes: int, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(num_classes, alpha, p)

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``share`` [N] float64 in [0, 1]: lambda."""
        return {"share": self.share(key.uniform(2))}

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, parameters: Parameters
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [B, C, H, W] and float32 [B, K] from uint8 [B, C, H, W] and int64 [B] or float [B, K]."""
        pixels = images.float()
        share = _column(parameters["share"], pixels)
        # One operation after the other, never fused: a picture's bits depend on no batch size or layout.
        mixed = pixels.roll(-1, 0).mul_(1 - share).add_(pixels.mul_(share))
        return mixed.round_().to(torch.uint8), self.targets(targets, parameters)


class CutMix(_Mixing):
    """Pastes a box of the next sample into each one (Yun et al. 2019, https://arxiv.org/abs/1905.04899).

    The box has the picture's shape and 1 - lambda of its area, with lambda from Beta(alpha, alpha); its
    centre is uniform over the picture's pixels, and what sticks out is cut off. Targets are mixed by the
    area that is really pasted, not by lambda.

    Args:
        num_classes: K.
        input_size: (height, width) of the pictures in pixels.
        alpha: > 0; 1 draws lambda uniformly.
        p: probability that a sample is mixed, in [0, 1].
    """

    def __init__(self, num_classes: int, input_size: tuple[int, int], alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(num_classes, alpha, p)
        self.input_size = input_size

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``box`` [N, 4] int64: top, left, bottom, right, empty where unmixed; ``share`` [N] float64 outside it."""
        drawn = key.uniform(4)
        side = np.array(self.input_size)
        centre = np.floor(drawn[:, 2:] * side)
        half = np.floor(0.5 * np.sqrt(1 - self.share(drawn[:, :2]))[:, None] * side)
        box = np.concatenate([np.maximum(centre - half, 0), np.minimum(centre + half, side)], axis=1)
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        return {"box": box.astype(np.int64), "share": 1 - area / side.prod()}

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, parameters: Parameters
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [B, C, H, W] and float32 [B, K] from uint8 [B, C, H, W] and int64 [B] or float [B, K]."""
        top, left, bottom, right = sent(parameters["box"], images.device)[:, :, None].unbind(1)
        y, x = (torch.arange(side, device=images.device) for side in images.shape[2:])
        rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
        inside = (rows[:, :, None] & columns[:, None])[:, None]
        return torch.where(inside, images.roll(-1, 0), images), self.targets(targets, parameters)


def beta_quantile(uniform: Floats, alpha: float) -> Floats:
    """Beta(alpha, alpha) by its inverse distribution function, so that a draw is a function of its key.

    Args:
        uniform: [N] float64 in [0, 1).
        alpha: > 0.
    """
    if alpha == 1:
        return uniform
    from scipy.special import betaincinv  # a quarter of a second, which only a run that mixes shall pay

    return np.asarray(betaincinv(alpha, alpha, uniform), dtype=np.float64)


def _column(share: Floats, like: torch.Tensor) -> torch.Tensor:
    """``share`` [B] on the device, in the type of ``like`` [B, ...] and spread over its other axes."""
    return sent(share, like.device).to(like.dtype).view(-1, *[1] * (like.ndim - 1))
