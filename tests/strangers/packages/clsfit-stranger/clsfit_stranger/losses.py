import torch
import torch.nn.functional as F
from torch import nn


class Tempered(nn.Module):
    """Cross entropy of logits divided by a learned temperature.

    Args:
        temperature: where learning begins. It stays positive.
        smoothing: share of the target that is spread over all classes
    """

    def __init__(self, temperature: float = 1.0, smoothing: float = 0.0):
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())
        self.smoothing = smoothing

    def forward(self, logits, targets):
        return F.cross_entropy(
            logits / self.log_temperature.exp(), targets, reduction="none", label_smoothing=self.smoothing
        )


class OtherFocal(nn.Module):
    """Focal loss of another author, as a mean over the batch.

    Args:
        strength: how much easy samples count less
    """

    def __init__(self, strength: int = 2):
        super().__init__()
        self.strength = strength

    def forward(self, logits, targets):
        log_p = F.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0]
        return -((1 - log_p.exp()) ** self.strength * log_p).mean()
