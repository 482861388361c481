"""From a selected component to its object, and whether it keeps its contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from clsfit.config import Selection
from clsfit.contracts import FILLED
from clsfit.engine import device as devices
from clsfit.engine.infer import takes_images
from clsfit.errors import ClsfitError, ConfigError, PluginError
from clsfit.keyed import key
from clsfit.parameters import added_parameters, own_parameters
from clsfit.registry import Offer
from clsfit.shortage import shortage

_OWED: dict[str, tuple[str, ...]] = {
    "optimizer": ("param_groups", "step", "zero_grad", "state_dict", "load_state_dict"),
    "scheduler": ("step", "state_dict", "load_state_dict"),
    "metric": ("higher_is_better", "update", "compute"),
    "sampler": ("order",),
    "dataset": ("table", "read"),
}
"""Members without which a run would fail later, where nobody knows whose they were."""


def make(selection: Selection, filled: Mapping[str, Any]) -> Any:
    """Calls a component's factory with its options and with what the core fills in.

    Raises:
        PluginError: the target cannot be imported, or its factory raised.
    """
    return maker(selection, filled)()


def maker(selection: Selection, filled: Mapping[str, Any]) -> Callable[[], Any]:
    """:func:`make` for as many objects as are wanted: what the factory takes is looked up once."""
    offer, factory, options = selection.offer, selection.offer.load(), own_options(selection)
    listed: dict[str, Any] | None = None

    def build() -> Any:
        nonlocal listed
        try:
            if listed is None:
                listed = _listed(offer, factory, filled)
            thing = factory(**options, **listed)
        except ClsfitError:
            raise
        except (Exception, SystemExit) as error:
            if scarce := shortage(error):
                raise scarce from error
            raise PluginError(
                f"{offer.kind} {offer.name!r} cannot be built: {type(error).__name__}: {error}",
                f"of {offer.distribution} {offer.version}",
                "check its options with: clsfit plugins show " + offer.name,
            ) from error
        lacking = [name for name in _OWED.get(offer.kind, ()) if not hasattr(thing, name)]
        if lacking:
            raise _broken(offer, f"its {type(thing).__name__} has no {', '.join(lacking)}")
        return thing

    return build


def _listed(offer: Offer, factory: Callable[..., Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``filled`` the factory's signature lists."""
    names = FILLED & inspect.signature(factory).parameters.keys()
    missing = sorted(name for name in names if name not in filled)
    if missing:
        raise TypeError(f"a {offer.kind} gets no {', '.join(missing)}")
    return {name: filled[name] for name in names}


def own_options(selection: Selection) -> dict[str, Any]:
    """The options that the component's factory takes, without those of :mod:`clsfit.added`."""
    own = [parameter.name for parameter in own_parameters(selection.offer)]
    added = {parameter.name for parameter in added_parameters(selection.offer.kind, own)}
    return {name: value for name, value in selection.params.items() if name not in added}


def added_option(selection: Selection, name: str) -> Any:
    """The value of an option of :mod:`clsfit.added`; None too where the component has one of that name itself."""
    return None if name in own_options(selection) else selection.params.get(name)


def build_module(selection: Selection, filled: Mapping[str, Any], device: torch.device) -> torch.nn.Module:
    """A model or a loss on ``device``, its weights drawn from the seed, whatever else was drawn before."""
    torch.default_generator.manual_seed(key(filled["seed"], "init", selection.offer.kind) >> 1)
    module = make(selection, filled)
    if not isinstance(module, torch.nn.Module):
        raise _broken(selection.offer, f"the factory returned a {type(module).__name__}, not a torch.nn.Module")
    return module.to(device)


def check_model(
    offer: Offer, model: torch.nn.Module, filled: Mapping[str, Any], device: torch.device
) -> torch.memory_format:
    """Two empty pictures through the model; also gives lazy layers their shapes.

    Returns:
        The memory format of its pictures and weights, which the model has from here on: the one that is best for
        the device, unless the model fails with it, as those do that ``view`` what is not contiguous.
    """
    images = torch.zeros(2, filled["in_channels"], *filled["input_size"], device=device)
    model.eval()
    with torch.no_grad():
        logits = tried(offer, partial(model, images))
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, filled["num_classes"]):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise _broken(offer, f"logits must be [B, {filled['num_classes']}] for B=2 pictures, not {got}")
    best = devices.memory_format(model, device)
    if best == torch.contiguous_format:
        return best
    model.to(memory_format=best)
    try:
        with torch.no_grad():
            model(images.to(memory_format=best))
    except RuntimeError:
        model.to(memory_format=torch.contiguous_format)
        return torch.contiguous_format
    return best


def check_loss(
    offer: Offer, loss: torch.nn.Module, filled: Mapping[str, Any], device: torch.device, weighted: str = ""
) -> None:
    """Two samples through the loss: one value each, or their mean, which weights rule out.

    Args:
        weighted: where the samples' weights come from; empty: they have none.
    """
    logits = torch.zeros(2, filled["num_classes"], device=device)
    targets = torch.tensor([0, filled["num_classes"] - 1], device=device)
    extra = {}
    if takes_images(loss):
        extra["images"] = torch.zeros(2, filled["in_channels"], *filled["input_size"], device=device)
    loss.eval()
    with torch.no_grad():
        values = tried(offer, partial(loss, logits, targets, **extra))
    if not isinstance(values, torch.Tensor) or values.shape not in {(2,), ()}:
        got = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise _broken(offer, f"a loss returns one value per sample [B], or a scalar mean, not {got}")
    if weighted and values.ndim == 0:
        raise ConfigError(
            f"loss {offer.name!r} returns a mean over the batch, to which samples' weights cannot be applied",
            f"option --loss {offer.name}; weights come from {weighted}",
            "leave the weights out, or choose a loss with one value per sample",
        )


def check_when(offer: Offer, scheduler: Any) -> None:
    """Whether a scheduler says when it steps."""
    when = getattr(scheduler, "when", None)
    named = (when,) if isinstance(when, str) else when
    if not named or not set(named) <= {"step", "epoch", "metric"}:
        raise _broken(offer, f'a scheduler says when it steps: when = "step", "epoch" or "metric", not {when!r}')


def tried(offer: Offer, call: Callable[[], Any], on: str = "on two empty samples") -> Any:
    """What ``call`` returns; any failure of it is the component's.

    Raises:
        PluginError: it failed; ``on`` says at what.
    """
    try:
        return call()
    except ClsfitError:
        raise
    except (Exception, SystemExit) as error:
        if scarce := shortage(error):
            raise scarce from error
        reason = str(error).splitlines()[0] if str(error) else ""
        raise _broken(offer, f"it failed {on}: {type(error).__name__}: {reason}") from error


def _broken(offer: Offer, reason: str) -> PluginError:
    return PluginError(
        f"{offer.kind} {offer.name!r}: {reason}",
        f"of {offer.distribution} {offer.version}",
        "see clsfit.contracts for what a component owes",
    )
