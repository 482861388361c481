import torch


def rmsprop(params, lr: float = 0.003, alpha: float = 0.95, momentum: float = 0.0):
    """RMSprop.

    Args:
        params: filled in by clsfit
        lr: learning rate
        alpha: decay of the mean square
        momentum: of the step
    """
    return torch.optim.RMSprop(params, lr=lr, alpha=alpha, momentum=momentum)


def staircase(optimizer, every: int = 1, gamma: float = 0.5):
    """Steps down.

    Args:
        every: epochs between two steps down
        gamma: what the rate is multiplied by
    """
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, every, gamma)
    scheduler.when = "epoch"
    return scheduler
