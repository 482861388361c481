"""Whether a component's object keeps its contract, tried on two empty samples; modules, built on their device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from clsfit.config import Selection
from clsfit.engine import device as devices
from clsfit.engine.infer import takes_images
from clsfit.errors import ClsfitError, ConfigError
from clsfit.keyed import key
from clsfit.making import broken, make
from clsfit.registry import Offer
from clsfit.shortage import shortage


def build_module(selection: Selection, filled: Mapping[str, Any], device: torch.device) -> torch.nn.Module:
    """A model or a loss on ``device``, its weights drawn from the seed, whatever else was drawn before."""
    torch.default_generator.manual_seed(key(filled["seed"], "init", selection.offer.kind) >> 1)
    module = make(selection, filled)
    if not isinstance(module, torch.nn.Module):
        raise broken(selection.offer, f"the factory returned a {type(module).__name__}, not a torch.nn.Module")
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
        raise broken(offer, f"logits must be [B, {filled['num_classes']}] for B=2 pictures, not {got}")
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
        raise broken(offer, f"a loss returns one value per sample [B], or a scalar mean, not {got}")
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
        raise broken(offer, f'a scheduler says when it steps: when = "step", "epoch" or "metric", not {when!r}')


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
        raise broken(offer, f"it failed {on}: {type(error).__name__}: {reason}") from error
