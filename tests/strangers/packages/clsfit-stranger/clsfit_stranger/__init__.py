"""What this distribution adds to clsfit."""

from clsfit import Component, hookimpl


@hookimpl
def clsfit_losses():
    yield Component("tempered", "clsfit_stranger.losses:Tempered", "cross entropy with a learned temperature")
    yield Component("focal", "clsfit_stranger.losses:OtherFocal", "another focal loss")


@hookimpl
def clsfit_optimizers():
    yield Component("rmsprop", "clsfit_stranger.optim:rmsprop", "torch's RMSprop")


@hookimpl
def clsfit_schedulers():
    yield Component("staircase", "clsfit_stranger.optim:staircase", "torch's StepLR")


@hookimpl
def clsfit_metrics():
    yield Component("hits", "clsfit_stranger.hits:Hits", "share of samples with the target among the k best")


@hookimpl
def clsfit_callbacks():
    yield Component("diary", "clsfit_stranger.diary:Diary", "writes diary.txt into the run's folder")


@hookimpl
def clsfit_models():
    yield Component("pocket", "clsfit_stranger.pocket:Pocket", "one convolution, dropout and a linear layer")
