"""A small convolutional network for small pictures."""

from __future__ import annotations

from torch import Tensor, nn

_SMALLEST = 8
"""A map is halved as long as its shorter side has at least so many pixels."""


class SmallCNN(nn.Module):
    """Blocks of convolution 3x3, batch normalisation, ReLU; then the mean over the map, and a layer.

    A block ends with pooling by 2 as long as the shorter side of the map is at least 8; one block
    without pooling follows, and there are three at least: 8x8 gives three blocks with one pooling,
    32x32 four with three, 224x224 six with five. Channels double from ``width`` to four times of it.

    Args:
        num_classes: K.
        in_channels: C, any number.
        input_size: (H, W) in pixels, from 4x4.
        width: channels of the first block, >= 1.
        dropout: probability of dropping a feature before the last layer, in [0, 1).
    """

    graph_safe = True

    def __init__(
        self, num_classes: int, in_channels: int, input_size: tuple[int, int], width: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        side, channels, blocks = min(input_size), in_channels, 0
        while blocks < 3 or isinstance(layers[-1], nn.MaxPool2d):
            wider = width * min(2**blocks, 4)
            layers += [
                nn.Conv2d(channels, wider, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            if side >= _SMALLEST:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            channels, blocks = wider, blocks + 1
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] from ``images`` [B, C, H, W] float."""
        logits: Tensor = self.head(self.dropout(self.features(images).mean(dim=(2, 3))))
        return logits
