"""Checks of what sees samples and judges them: models, losses, metrics."""

from __future__ import annotations

import copy
import inspect
import math
from typing import TYPE_CHECKING, Any

from clsfit.testing.common import Factory, check_saveable, close, made, made_module, named, require, values

if TYPE_CHECKING:
    import torch


def check_model(
    factory: Factory,
    *,
    num_classes: int = 4,
    in_channels: int = 3,
    input_size: tuple[int, int] = (32, 32),
    **options: Any,
) -> None:
    """Checks a model: shape of the logits, gradients, one picture at a time, and a saved state.

    Of pretrained weights only what is known without them, since that takes a network: the pictures that they
    want, and that ``fit`` leaves the model's own tensors as they are.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Model`.
    """
    import torch

    shape = {"num_classes": num_classes, "in_channels": in_channels, "input_size": input_size}
    images = values(3, in_channels, *input_size)
    model = made_module(factory, options, **shape).eval()
    with torch.no_grad():
        logits = model(images)
    require(isinstance(logits, torch.Tensor), f"a model returns a tensor, not {named(logits)}")
    require(
        logits.shape == (3, num_classes) and logits.is_floating_point(),
        f"logits are floats of shape (3, {num_classes}) for three pictures, not {logits.dtype} {tuple(logits.shape)}",
    )
    require(bool(logits.isfinite().all()), "the logits are not finite")
    with torch.no_grad():
        single = torch.cat([model(image[None]) for image in images])
    require(torch.allclose(single, logits, atol=1e-4), "in eval mode, a picture's logits depend on its batch")
    check_saveable(model.state_dict(), "the model")
    other = made_module(factory, options, **shape).eval()
    with torch.no_grad():
        other(images)  # gives lazy layers their shapes, as a run does
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        require(torch.equal(other(images), logits), "a model with the same state_dict() gives other logits")
    trained = [p for p in model.parameters() if p.requires_grad]
    require(bool(trained), "no parameter of the model can be trained")
    model.train()(images).sum().backward()
    require(any(p.grad is not None for p in trained), "no gradient reaches the model's parameters")
    if (pretrained := getattr(factory, "pretrained", None)) is not None:
        _check_pretrained(pretrained, other)


def _check_pretrained(pretrained: Any, model: torch.nn.Module) -> None:
    from clsfit.contracts import Preprocessing

    require(callable(getattr(pretrained, "tensors", None)), "pretrained weights have a method tensors()")
    wanted = pretrained.preprocessing()
    require(isinstance(wanted, Preprocessing), f"preprocessing() returns a Preprocessing, not {named(wanted)}")
    if fit := getattr(pretrained, "fit", None):
        own = model.state_dict()
        fitted = fit(dict(own), model)
        same = fitted.keys() == own.keys() and all(fitted[name].shape == own[name].shape for name in own)
        require(same, "fit() does not leave tensors as they are that have the model's names and shapes")


def check_loss(factory: Factory, *, num_classes: int = 4, **options: Any) -> None:
    """Checks a loss: its form, finite values and gradients, and that each sample counts for itself.

    With ``batchwise`` samples may depend on each other; with ``soft_targets`` one-hot rows must give
    what class indices give.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Loss`.
    """
    import torch

    loss = made_module(factory, options, num_classes=num_classes).eval()
    targets = torch.arange(6) % num_classes
    logits = values(6, num_classes).requires_grad_()
    extra = {"images": values(6, 3, 8, 8)} if "images" in inspect.signature(loss.forward).parameters else {}

    def loss_of(rows: slice, scale: float = 1.0, soft: bool = False) -> torch.Tensor:
        given = torch.nn.functional.one_hot(targets, num_classes).float() if soft else targets
        result = loss(logits[rows] * scale, given[rows], **{name: value[rows] for name, value in extra.items()})
        count = len(targets[rows])
        require(isinstance(result, torch.Tensor), f"a loss returns a tensor, not {named(result)}")
        require(result.is_floating_point(), f"a loss returns floats, not {result.dtype}")
        require(
            result.shape in {(count,), ()},
            f"a loss returns one value per sample, ({count},), or a scalar mean, not {tuple(result.shape)}",
        )
        return result  # type: ignore[no-any-return]

    whole = loss_of(slice(None))
    require(bool(whole.isfinite().all()), "the loss of ordinary logits is not finite")
    (gradient,) = torch.autograd.grad(whole.mean(), logits, allow_unused=True)
    require(gradient is not None, "no gradient of the loss reaches the logits")
    require(bool(gradient.isfinite().all()), "the gradient of the loss is not finite")
    (gradient,) = torch.autograd.grad(loss_of(slice(None), scale=100.0).mean(), logits)
    require(bool(gradient.isfinite().all()), "the gradient is not finite where logits are around 100")
    if not getattr(loss, "batchwise", False):
        halves = [loss_of(slice(0, 3)), loss_of(slice(3, 6))]
        joined = torch.stack(halves).mean() if whole.ndim == 0 else torch.cat(halves)
        require(
            torch.allclose(whole, joined, atol=1e-5),
            "the loss of a sample depends on its batch; say batchwise = True if that is meant",
        )
    if getattr(loss, "soft_targets", False):
        soft = loss_of(slice(None), soft=True)
        require(torch.allclose(whole, soft, atol=1e-5), "one-hot soft targets give another loss than class indices")
    check_saveable(loss.state_dict(), "the loss")


def check_metric(factory: Factory, *, num_classes: int = 4, **options: Any) -> None:
    """Checks a metric: batches of any size, ``merge`` and a saved state all give the same number.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Metric`.
    """
    import torch

    from clsfit.engine.state import attributes, restore_attributes

    logits, targets = values(23, num_classes), (torch.arange(23) * 7) % num_classes

    def seen(*bounds: tuple[int, int]) -> Any:
        metric = made(factory, options, num_classes=num_classes)
        for start, stop in bounds:
            with torch.inference_mode():
                metric.update(logits[start:stop], targets[start:stop])
        return metric

    def value(metric: Any) -> float:
        number = metric.compute()
        require(
            number is None or (isinstance(number, float | int) and not math.isnan(number)),
            f"compute() returns a float, or None where the value is undefined, not {number!r}",
        )
        return math.nan if number is None else float(number)

    whole = seen((0, 23))
    require(isinstance(getattr(whole, "higher_is_better", None), bool), "higher_is_better must be True or False")
    expected = value(whole)
    require(
        close(value(seen((0, 1), (1, 9), (9, 23))), expected), "the value depends on how samples are grouped in batches"
    )
    merged = seen((0, 9))
    merged.merge(seen((9, 23)))
    require(close(value(merged), expected), "merge() gives another value than seeing all samples at once")
    half, fresh = seen((0, 9)), seen()
    state = attributes(half)
    check_saveable(state, "the metric")
    restore_attributes(fresh, copy.deepcopy(state), torch.device("cpu"))
    fresh.update(logits[9:], targets[9:])
    require(close(value(fresh), expected), "a metric restored from its saved state goes on to another value")
    if hasattr(whole, "compute_per_class"):
        count = len(whole.compute_per_class())
        require(count == num_classes, f"compute_per_class() returns a value per class, {num_classes}, not {count}")
