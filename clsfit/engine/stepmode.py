"""Which way a run's steps are executed: decided before step 0, from configuration and hardware only.

Never from a timing: the ways differ in the last bits, and a resumed run must have those of its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clsfit.config import Config
from clsfit.engine.compiled import Compiled, check_tools
from clsfit.engine.cudagraph import Graphed
from clsfit.engine.step import Eager, Mode
from clsfit.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from clsfit.engine.run import Run

MODES = ("eager", "graph", "compile", "compile+graph")
"""In the order of their complexity: of two that cost the same, the first is chosen."""

# What the estimate knows of GPUs and compilers. It only has to tell seconds from minutes.
_LAUNCH = 8e-6  # seconds that the host needs for an operation called by Python
_BACKWARD = 2.0  # as many operations, and as much arithmetic, as the forward pass times this
_CLOCK = 1.5e9  # Hz
_REACHED = 0.25  # share of the arithmetic's peak that training reaches
_CAPTURE, _COMPILE = 1.0, 60.0  # seconds, once per run
_SPEEDUP = 1.3  # of the arithmetic, by compiling


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        device: kind of device: ``cpu``, ``cuda`` or ``mps``.
        steps: optimizer steps of the whole run.
        flops: floating-point operations of a step.
        operations: operations that Python calls in a step.
        peak: floating-point operations per second that the device can do in the run's format.
        no_graph: why steps cannot be a CUDA graph; empty: they can.
        no_compile: why the model cannot be compiled; empty: it can.
    """

    device: str
    steps: int = 0
    flops: float = 0.0
    operations: int = 0
    peak: float = 1.0
    no_graph: str = ""
    no_compile: str = ""


def choose(facts: Facts) -> tuple[str, str]:
    """What ``auto`` is, and why, in one line.

    The mode of which the whole run is estimated to take the least time. So compiling has to earn its
    minute: ``steps * seconds * (1 - 1 / speedup)`` must be more.
    """
    if facts.device != "cuda":
        return "eager", f"auto: always on {facts.device}"
    compute, launch = facts.flops / (facts.peak * _REACHED), facts.operations * _LAUNCH
    seconds = {
        "eager": facts.steps * max(compute, launch),
        "graph": _CAPTURE + facts.steps * compute,
        "compile": _COMPILE + facts.steps * max(compute / _SPEEDUP, launch / 2),
        "compile+graph": _COMPILE + _CAPTURE + facts.steps * compute / _SPEEDUP,
    }
    reasons = {"graph": facts.no_graph, "compile": facts.no_compile}
    ruled_out = {part for part, reason in reasons.items() if reason}
    possible = [mode for mode in MODES if not ruled_out.intersection(mode.split("+"))]
    best = min(possible, key=seconds.__getitem__)
    line = f"auto: {facts.steps:,} steps, an estimated {seconds['eager']:.0f} s eager"
    if best != "eager":
        line += f", {seconds[best]:.0f} s so"
    return best, "; ".join([line, *(f"no {part}: {reasons[part]}" for part in reasons if reasons[part])])


def decide(config: Config, run: Run) -> tuple[Mode, str]:
    """The way that ``config`` asks for, or ``auto``'s choice, for ``run``; and a line for the reader.

    Raises:
        ConfigError: the run cannot be executed in the way that was asked for.
        ResourceError: the machine lacks what it needs.
    """
    asked, reason = str(config.settings.step), ""
    if asked == "auto":
        asked, reason = choose(_facts(config, run))
    parts = asked.split("+")
    if "graph" in parts:
        _check_graph(config, run)
    if "compile" in parts:
        check_tools(run.device)
    line = f"step: {asked}" + (f" ({reason})" if reason else "")
    mode: Mode = Compiled(run) if "compile" in parts else Eager()
    return Graphed(asked, run, mode) if "graph" in parts else mode, line


def obstacles(config: Config, run: Run) -> Iterator[str]:
    """What keeps the steps of ``run`` from being a CUDA graph, each by its name."""
    for name in run.hooks.listeners("on_gradients"):
        if not getattr(run.hooks.callbacks[name], "graph_safe", False):
            yield f"callback {name!r} is told of on_gradients and is not graph_safe"
    for slot, component in (("optimizer", run.optimizer), ("scheduler", run.scheduler)):
        if not getattr(component, "graph_safe", False):
            yield f"{slot} {config.one(slot).name!r} is not graph_safe"
    if getattr(run.optimizer, "needs_closure", False):
        yield f"optimizer {config.one('optimizer').name!r} evaluates a step again"
    if run.ranks.world_size > 1:
        yield f"{run.ranks.world_size} ranks add up their gradients in it"
    if any(len(window.bounds) > 1 for window in run.windows):
        yield "a step accumulates several batches"


def undeclared(config: Config, run: Run) -> Iterator[str]:
    """The model and the loss of ``run`` where nobody has said that they are ``graph_safe``: ``auto`` leaves them alone.

    One that reads from the device ends the capture, and one that decides on the host would be frozen.
    """
    for slot, component in (("model", run.model), ("loss", run.loss)):
        if not getattr(component, "graph_safe", False):
            yield f"{slot} {config.one(slot).name!r} does not declare graph_safe"


def _check_graph(config: Config, run: Run) -> None:
    """Raises ConfigError where a step of ``run`` cannot be a CUDA graph."""
    if run.device.type != "cuda":
        raise ConfigError(
            f"--step {config.settings.step} needs a CUDA device, and this run is on {run.device}",
            "option --step",
            "use --step eager or --step compile" if run.device.type == "cpu" else "use --step eager",
        )
    if found := list(obstacles(config, run)):
        raise ConfigError(
            f"--step {config.settings.step}: {found[0]}",
            "option --step" + (f"; {len(found) - 1} more: {'; '.join(found[1:])}" if found[1:] else ""),
            "leave it out, or use --step eager or --step compile",
        )


def _facts(config: Config, run: Run) -> Facts:
    if run.device.type != "cuda":
        return Facts(run.device.type)
    flops, operations = _work(run)
    properties = torch.cuda.get_device_properties(run.device)
    per_clock = 256 if run.precision.name == "fp32" else 4096 if properties.major >= 9 else 2048
    no_compile = ""
    try:
        check_tools(run.device)
    except ResourceError as error:
        no_compile = error.what
    return Facts(
        device="cuda",
        steps=round(run.total_steps * run.train.loader.times),
        flops=flops,
        operations=operations,
        peak=properties.multi_processor_count * per_clock * _CLOCK,
        no_graph=next(chain(obstacles(config, run), undeclared(config, run)), ""),
        no_compile=no_compile,
    )


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is called."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _work(run: Run) -> tuple[float, int]:
    """Floating-point operations, and operations that Python calls, of one step of ``run``: two empty pictures tell."""
    from torch.utils.flop_counter import FlopCounterMode

    finish = run.header["finish"]
    images = torch.zeros(2, finish["channels"], *finish["input_size"], device=run.device)
    run.model.eval()
    counted, called = FlopCounterMode(display=False), _Operations()  # type: ignore[no-untyped-call]
    with torch.no_grad(), run.precision.autocast(), counted, called:
        run.model(images)
    whole = 1 + _BACKWARD
    samples = max(window.samples for window in run.windows)
    micro_batches = max(len(window.bounds) for window in run.windows)
    return whole * counted.get_total_flops() * samples / 2, round(whole * called.count * micro_batches)
