"""Checks of what acts between two steps: optimizers, schedulers, callbacks."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from clsfit.testing.common import Factory, check_saveable, made, require, text_of, values

if TYPE_CHECKING:
    import torch

_STEPS = 6


def check_optimizer(factory: Factory, **options: Any) -> None:
    """Checks an optimizer: it descends, keeps to the groups, and goes on exactly from a saved state.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Optimizer`.
    """
    import torch

    def problem() -> tuple[list[torch.nn.Parameter], Any]:
        parameters = [torch.nn.Parameter(values(5, 3)), torch.nn.Parameter(values(3))]
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}]
        return parameters, made(factory, options, params=groups)

    def descend(parameters: list[torch.nn.Parameter], optimizer: Any, steps: int) -> list[float]:
        inputs, losses = values(16, 5) + 0.5, []

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = ((inputs @ parameters[0] + parameters[1] - 1) ** 2).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        for _ in range(steps):
            losses.append(float(closure().detach()))
            optimizer.step(*([closure] if getattr(optimizer, "needs_closure", False) else []))
        return losses

    parameters, optimizer = problem()
    groups = getattr(optimizer, "param_groups", None)
    require(isinstance(groups, list) and len(groups) == 2, "param_groups must be the two groups that the core made")
    require(all("lr" in group for group in groups or ()), "every group in param_groups has an lr")
    losses = descend(parameters, optimizer, _STEPS)
    require(losses[-1] < losses[0], f"it does not descend: {losses[0]:.4g}, then {losses[-1]:.4g} after {_STEPS} steps")
    state = copy.deepcopy(optimizer.state_dict())
    check_saveable(state, "the optimizer")
    others, other = problem()
    with torch.no_grad():
        for mine, theirs in zip(others, parameters, strict=True):
            mine.copy_(theirs)
    other.load_state_dict(state)
    descend(parameters, optimizer, 2)
    descend(others, other, 2)
    same = all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))
    require(same, "an optimizer restored from state_dict() goes on differently")
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        before = [p.detach().clone() for p in parameters]
        optimizer.found_inf, optimizer.grad_scale = torch.ones(()), None
        descend(parameters, optimizer, 1)
        unchanged = all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
        require(unchanged, "a step with found_inf = 1 must change nothing")


def check_scheduler(factory: Factory, **options: Any) -> None:
    """Checks a scheduler: ``when``, rates that are numbers, and that it goes on exactly from a saved state.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Scheduler`.
    """
    import torch

    def built() -> tuple[Any, Any]:
        groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1 * (i + 1)} for i in range(2)]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        return made(factory, options, optimizer=optimizer, total_steps=2 * _STEPS, steps_per_epoch=_STEPS), optimizer

    def advance(scheduler: Any, optimizer: Any, steps: range) -> list[float]:
        rates = []
        for step in steps:
            optimizer.step()
            if "step" in when or "epoch" in when:
                scheduler.step()
            if "metric" in when:
                scheduler.step(1.0 / (1 + step // 3))
            rates += [float(group["lr"]) for group in optimizer.param_groups]
        return rates

    scheduler, optimizer = built()
    when = getattr(scheduler, "when", ())
    when = (when,) if isinstance(when, str) else tuple(when)
    known = bool(when) and set(when) <= {"step", "epoch", "metric"}
    require(known, f'a scheduler says when it steps: when = "step", "epoch" or "metric", not {when!r}')
    rates = advance(scheduler, optimizer, range(_STEPS))
    require(all(math.isfinite(rate) and rate >= 0 for rate in rates), f"rates are finite and >= 0, not {rates}")
    state = copy.deepcopy(scheduler.state_dict())
    check_saveable(state, "the scheduler")
    other, its = built()
    its.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.load_state_dict(state)
    coming = range(_STEPS, 2 * _STEPS)
    same = advance(scheduler, optimizer, coming) == advance(other, its, coming)
    require(same, "a scheduler restored from state_dict() gives other rates")


def check_callback(factory: Factory, **options: Any) -> None:
    """Checks a callback: it listens to moments that exist, and its state can be saved.

    Raises:
        AssertionError: it does not keep :class:`clsfit.contracts.Callback`.
    """
    from clsfit.engine.moments import CallbackHooks
    from clsfit.errors import PluginError
    from clsfit.hookspecs import Moments

    callback = made(factory, options)
    try:
        hooks = CallbackHooks({"callback": callback})
    except PluginError as error:
        raise AssertionError(f"{error.what}: {error.where}") from error
    moments = [name for name in vars(Moments) if name.startswith("on_")]
    heard = [name for name in moments if hooks.teller(name) is not None]
    deaf = [name for name in moments if hasattr(callback, name) and name not in heard]
    require(not deaf, f"{', '.join(deaf)} lacks @hookimpl")
    accumulate = getattr(callback, "accumulate", None)
    asked = accumulate is not None or hasattr(callback, "recover")
    require(bool(heard) or asked, "it listens to no moment, and is asked for nothing")
    require(
        accumulate is None or (isinstance(accumulate, int) and accumulate >= 1),
        "accumulate is a number of batches, >= 1",
    )
    saves, loads = hasattr(callback, "state_dict"), hasattr(callback, "load_state_dict")
    require(saves == loads, "state_dict and load_state_dict come together")
    if saves:
        state = callback.state_dict()
        check_saveable(state, "the callback")
        other = made(factory, options)
        other.load_state_dict(copy.deepcopy(state))
        require(text_of(other.state_dict()) == text_of(state), "load_state_dict() does not bring back state_dict()")
