from torch import Tensor, nn


class Taylor(nn.Module):
    """Taylor cross entropy (Feng et al. 2020, https://www.ijcai.org/proceedings/2020/305)."""

    soft_targets = True

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        self.order = order

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        targets = targets if targets.is_floating_point() else nn.functional.one_hot(targets, logits.shape[1])
        miss = 1 - logits.softmax(1)
        return (targets * sum(miss**n / n for n in range(1, self.order + 1))).sum(1)
