"""The small convolutional network of a speed record on CIFAR-10."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from clsfit.errors import ConfigError

_SMALLEST = 9
"""The shorter side of the smallest pictures: one pixel is lost, then three halvings must leave one."""


class Airbench(nn.Module):
    """The network of Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"
    (https://arxiv.org/abs/2404.00498); its own size is 32x32x3.

    A convolution 2x2 with 2 * C * 4 outputs, whose weights are not trained, and a GELU; three blocks; the
    largest value of each map; a layer without bias, whose logits are multiplied by ``logit_scale``. A block
    is a convolution 3x3, pooling by 2, normalisation and GELU; then a convolution 3x3, normalisation and GELU.
    The first outputs of a 3x3 convolution begin as copies of its inputs, as many as there are of both.

    The callback ``whiten`` gives the first convolution the weights that it is meant to have; without it they
    stay as they were drawn.

    Args:
        num_classes: K.
        in_channels: C, any number.
        input_size: (H, W) in pixels, from 9x9.
        widths: channels of the three blocks, >= 1 each.
        logit_scale: what logits are multiplied by, > 0.
        bias_rate: of the normalisations, > 0; see :class:`BiasNorm`.

    Raises:
        ConfigError: the pictures are too small.
    """

    graph_safe = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        widths: tuple[int, int, int] = (64, 256, 256),
        logit_scale: float = 1 / 9,
        bias_rate: float = 64.0,
    ) -> None:
        super().__init__()
        if min(input_size) < _SMALLEST:
            raise ConfigError(
                f"model 'airbench' takes no pictures of {input_size[0]}x{input_size[1]} pixels:"
                f" it needs sides of at least {_SMALLEST}",
                "option --input-size",
                "give --input-size 32, or choose another model",
            )
        self.whitening = nn.Conv2d(in_channels, 2 * in_channels * 2 * 2, kernel_size=2)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]  # it has one
        before = (self.whitening.out_channels, *widths)
        self.blocks = nn.Sequential(*map(Block, before, widths, [bias_rate] * len(widths)))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        self.logit_scale = logit_scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] from ``images`` [B, C, H, W] float."""
        maps = self.blocks(functional.gelu(self.whitening(images)))
        features = functional.max_pool2d(maps, maps.shape[2:]).flatten(1)
        logits: Tensor = self.head(features) * self.logit_scale
        return logits


class Block(nn.Module):
    """Two convolutions 3x3, each normalised; the first one's maps are halved."""

    def __init__(self, before: int, channels: int, bias_rate: float) -> None:
        super().__init__()
        self.conv1 = _convolution(before, channels)
        self.norm1 = BiasNorm(channels, bias_rate)
        self.conv2 = _convolution(channels, channels)
        self.norm2 = BiasNorm(channels, bias_rate)

    def forward(self, maps: Tensor) -> Tensor:
        maps = functional.max_pool2d(self.conv1(maps), 2)
        maps = functional.gelu(self.norm1(maps))
        return functional.gelu(self.norm2(self.conv2(maps)))


class BiasNorm(nn.BatchNorm2d):
    """Batch normalisation with a bias and no trained scale, whose statistics move by 0.4 in each step.

    The paper's optimizer has a learning rate of its own for these biases. Here it lies in the parameter: with
    ``f = sqrt(bias_rate)``, ``f`` times the parameter is the bias. Its gradient is then f times the bias', and what
    the parameter moves is worth f times as much: f * f in all. That holds for SGD, with any momentum.

    Args:
        channels: of the maps.
        bias_rate: learning rate of the bias, as a multiple of the optimizer's, > 0.
    """

    def __init__(self, channels: int, bias_rate: float) -> None:
        super().__init__(channels, momentum=0.4)
        self.weight.requires_grad_(False)  # of ones: with scale and bias both there, kernels are the usual ones
        self._factor = math.sqrt(bias_rate)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.batch_norm(
            maps,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias * self._factor,
            self.training,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


def _convolution(before: int, after: int) -> nn.Conv2d:
    """3x3 without bias; as many outputs as it has inputs begin as copies of them, further ones as torch draws them."""
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:before])
    return conv
