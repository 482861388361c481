"""Components that break their contracts."""

from clsfit import Component, hookimpl

HERE = "clsfit_faulty.components"


@hookimpl
def clsfit_losses():
    yield Component("square_loss", f"{HERE}:SquareLoss", "returns [B, K] instead of [B]")
    yield Component("late_loss", f"{HERE}:LateLoss", "raises in its fifth forward pass")
    yield Component("nan_loss", f"{HERE}:NanLoss", "not a number from the fifth training step on")
    yield Component("leaving_loss", f"{HERE}:LeavingLoss", "ends the process in its fifth forward pass")
    yield Component("lost_loss", "clsfit_faulty.nowhere:Loss", "its module does not exist")


@hookimpl
def clsfit_optimizers():
    yield Component("torch_rmsprop", "torch.optim:RMSprop", "nothing wrong with it; its target lies in torch")


@hookimpl
def clsfit_schedulers():
    yield Component("never", f"{HERE}:Never", "does not say when it steps")


@hookimpl
def clsfit_metrics():
    yield Component("hoarder", f"{HERE}:Hoarder", "keeps a set, which cannot be saved")


@hookimpl
def clsfit_models():
    yield Component("narrow", f"{HERE}:narrow", "one logit too few")
    yield Component("late_model", f"{HERE}:LateModel", "fails inside torch, in training only")
    yield Component("no_model", f"{HERE}:no_model", "returns a function")


@hookimpl
def clsfit_callbacks():
    yield Component("late_callback", f"{HERE}:LateCallback", "raises after the third step")
    yield Component("deaf", f"{HERE}:Deaf", "listens to a moment that does not exist")
    yield Component("secretive", f"{HERE}:Secretive", "its state holds an object")
