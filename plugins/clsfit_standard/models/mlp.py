"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.Module):
    """Flattened pictures through hidden layers with ReLU.

    Args:
        num_classes: K.
        in_channels: C.
        input_size: (H, W) in pixels; the model takes no other size.
        hidden: units of each hidden layer; empty: a linear model.
        dropout: probability of dropping a unit of a hidden layer, in [0, 1).
    """

    graph_safe = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        features = in_channels * input_size[0] * input_size[1]
        for units in hidden:
            layers += [nn.Linear(features, units), nn.ReLU(inplace=True)]
            if dropout:
                layers.append(nn.Dropout(dropout))
            features = units
        self.layers = nn.Sequential(*layers, nn.Linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] from ``images`` [B, C, H, W] float."""
        logits: Tensor = self.layers(images.flatten(1))
        return logits
