"""Components that a test of faults needs, offered as a stranger's plugin would."""

from collections.abc import Iterator

from clsfit import Component, hookimpl

OPTIMIZERS = ("sgd_fused", "sgd_foreach", "adamw_fused", "adamw_foreach")


@hookimpl
def clsfit_optimizers() -> Iterator[Component]:
    for name in OPTIMIZERS:
        yield Component(name, f"clsfit_faults.components:{name}", "torch's own, by one of its ways to step")


@hookimpl
def clsfit_models() -> Iterator[Component]:
    yield Component("channels_last", "clsfit_faults.components:ChannelsLast", "a net in that memory format")
    yield Component("contiguous", "clsfit_faults.components:Contiguous", "a net in the other one")


@hookimpl
def clsfit_losses() -> Iterator[Component]:
    yield Component("stalling", "clsfit_faults.components:Stalling", "cross-entropy that stalls once, if told to")
    yield Component("breaking", "clsfit_faults.breaking:BreakingLoss", "cross-entropy that breaks on one rank")


@hookimpl
def clsfit_metrics() -> Iterator[Component]:
    yield Component("breaking", "clsfit_faults.breaking:BreakingMetric", "accuracy that breaks on one rank")


@hookimpl
def clsfit_datasets() -> Iterator[Component]:
    yield Component("breaking", "clsfit_faults.breaking:BreakingPictures", "pictures that break on one rank")
