from torch import nn


class Pocket(nn.Module):
    """A very small network.

    Args:
        width: channels of the convolution
        dropout: probability of dropping a feature
        norm: whether to normalise by the batch
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 6, dropout: float = 0.2, norm: bool = True):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.BatchNorm2d(width) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.LazyLinear(num_classes)

    def forward(self, images):
        return self.head(self.features(images))
