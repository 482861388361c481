"""What a checkpoint holds of a run, and how it comes back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from clsfit.engine.records import Best, LastSave
from clsfit.engine.state import (
    attributes,
    check_kinds,
    copied,
    flatten,
    from_blob,
    load_weights,
    restore_attributes,
    to_blob,
    unflatten,
    weights,
)
from clsfit.errors import CheckpointError
from clsfit.storage import checkpoints

if TYPE_CHECKING:
    from clsfit.engine.run import Run
    from clsfit.engine.sums import Sums

KEEP = 2  # good checkpoints that are never pruned, beside the best one
_UNFIT = (LookupError, AttributeError, ValueError, TypeError, RuntimeError)
"""What loading a state raises that does not fit."""


@dataclass(frozen=True)
class Snapshot:
    """A run as it was at one moment; training may go on while it is written.

    Attributes:
        step: finished optimizer steps.
        kept: steps whose checkpoints are not pruned.
        state: JSON form of everything but tensors.
        weights: of the model and the loss.
        tensors: of everything else.
    """

    step: int
    kept: frozenset[int]
    state: dict[str, Any]
    weights: dict[str, torch.Tensor]
    tensors: dict[str, torch.Tensor]

    def files(self) -> dict[str, bytes]:
        """The files of the checkpoint."""
        return {
            "model.safetensors": to_blob(self.weights),
            "state.safetensors": to_blob(self.tensors),
            "state.json": json.dumps(self.state).encode(),
        }


def save(run: Run) -> None:
    """Saves ``run`` as the checkpoint of its step: as it is now, written durably while training goes on.

    Without a directory nothing is written; what this rank has counted is in the checkpoint of rank 0.

    Raises:
        PluginError: a component's state is not JSON values and tensors.
        ResourceError: an earlier save has failed.
    """
    directory, started = run.directory, time.monotonic()
    sums = run.ranks.merged(run.sums, run.new_sums)
    told, run.save_told = run.save_told, False
    if directory is None:
        return
    taken = snapshot(run, sums)
    copying = time.monotonic() - started

    def write() -> None:
        begun = time.monotonic()
        directory.metrics.sync()
        directory.log.sync()
        checkpoints.save(directory.checkpoints, taken.step, taken.files())
        checkpoints.prune(directory.checkpoints, keep=KEEP, never=taken.kept)
        now = time.monotonic()
        run.last_save = LastSave(taken.step, now, copying + run.saver.lap())
        run.reporter.say(
            f"checkpoint of step {taken.step} saved in {now - begun:.3f} s, copied in {copying:.3f} s",
            detail=not told,
        )

    run.saver.do(write)


def snapshot(run: Run, sums: Sums) -> Snapshot:
    """Everything that a resume needs, copied, with ``sums`` for what the epoch has counted so far.

    Orders, augmentations and dropout are functions of seed, epoch and step, so there is no generator
    state to save. The logs' lengths say where a resume cuts them.

    Raises:
        PluginError: a component's state is not JSON values and tensors.
    """
    assert run.directory is not None
    tensors: dict[str, torch.Tensor] = {}
    state = {
        "epoch": run.epoch,
        "step": run.step,
        "epoch_start": run.epoch_start,
        "steps_per_epoch": run.steps_per_epoch,
        "best": asdict(run.best) if run.best else None,
        "scores": run.scores,
        "stop_reason": run.stop_reason,
        "lr": run.lr,
        "lr_factor": run.lr_factor,
        "rollbacks": run.rollbacks,
        "seconds": run.seconds,
        "train_seconds": run.train_seconds,
        "logs": {"metrics": run.directory.metrics.length, "log": run.directory.log.length},
        **_states(run, sums),
    }
    flat = {name: flatten(value, name, tensors) for name, value in state.items()}
    kept = frozenset({run.best.step} if run.best else ())
    return Snapshot(run.step, kept, flat, copied(weights(run.model, run.loss)), copied(tensors))


def _states(run: Run, sums: Sums) -> dict[str, Any]:
    """The states of the run's objects, as they give them."""
    return {
        "sums": sums.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "precision": run.precision.state_dict(),
        "callbacks": {
            name: attributes(callback)
            for name, callback in run.hooks.callbacks.items()
            if hasattr(callback, "state_dict")
        },
    }


def restore(run: Run, saved: checkpoints.Checkpoint, *, changed: bool = False) -> None:
    """Brings ``run`` to where ``saved`` was taken, its logs too; arguments and errors as for :func:`load`."""
    state = load(run, saved, changed=changed)
    if run.ranks.rank > 0:
        run.sums = run.new_sums()  # rank 0 holds what all have counted
    if run.directory is not None:
        run.directory.metrics.truncate(state["logs"]["metrics"])
        run.directory.log.truncate(state["logs"]["log"])


def go_back(run: Run) -> None:
    """Brings a run in progress back to its newest good checkpoint.

    Raises:
        CheckpointError: there is none, or it does not fit.
    """
    saved = None
    if run.directory is not None:
        run.saver.flush()
        saved, skipped = checkpoints.newest_verified(run.directory.checkpoints)
        for path, reason in skipped:
            run.say(f"checkpoint {path} is left aside: {reason}")
        checkpoints.set_aside(path for path, _ in skipped)
    saved = run.ranks.same(saved)
    if saved is None:
        raise CheckpointError("there is no checkpoint to go back to", "", "start anew")
    restore(run, saved)


def load(run: Run, saved: checkpoints.Checkpoint, *, changed: bool = False) -> dict[str, Any]:
    """Loads the state of ``saved`` into the objects of ``run``.

    Args:
        run: built by the saved run's configuration.
        saved: the checkpoint.
        changed: whether that configuration was changed; the optimizer's options are then the new ones,
            and an epoch that has become another one (in steps, or in metrics) begins anew.

    Returns:
        The state.

    Raises:
        CheckpointError: the state does not fit the run's objects.
    """
    part = "state"
    try:
        tensors = from_blob(saved.read("state.safetensors"))
        state = {name: unflatten(v, tensors) for name, v in json.loads(saved.read("state.json")).items()}
        _check_counters(state)
        for name, own in _states(run, run.sums).items():
            check_kinds(own, state[name], name)
        part = "model"
        load_weights(run.model, run.loss, from_blob(saved.read("model.safetensors")))
        same_epoch = not changed or _same_epoch(run, state)
        run.sums = run.new_sums()
        for name, bring in _parts(run, state, same_epoch, changed):
            part = name
            bring()
        part = "counters"
        _count(run, state, same_epoch)
    except _UNFIT as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise CheckpointError(
            f"the checkpoint does not fit this run: {part}: {type(error).__name__}: {reason}",
            str(saved.path),
            "resume with the configuration and the plugin versions of the run, or start anew with --overwrite",
        ) from error
    return state


def _same_epoch(run: Run, state: dict[str, Any]) -> bool:
    return bool(
        state["steps_per_epoch"] == run.steps_per_epoch and state["sums"]["metrics"].keys() == run.sums.metrics.keys()
    )


def _parts(
    run: Run, state: dict[str, Any], same_epoch: bool, changed: bool
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is to be loaded beside the weights: the name of each part, and what brings it back."""
    yield "optimizer", lambda: _bring_optimizer(run, state["optimizer"], keep_options=changed)
    yield "scheduler", lambda: run.scheduler.load_state_dict(state["scheduler"])
    yield "precision", lambda: run.precision.load_state_dict(state["precision"])
    if same_epoch and state["step"] > state["epoch_start"]:
        yield "metrics", lambda: run.sums.load_state_dict(state["sums"], run.device)
    for name, value in state["callbacks"].items():
        if name in run.hooks.callbacks:
            callback = run.hooks.callbacks[name]
            yield f"callback {name}", lambda c=callback, v=value: restore_attributes(c, v, run.device)  # type: ignore[misc]


def _bring_optimizer(run: Run, state: dict[str, Any], *, keep_options: bool) -> None:
    options = [{k: v for k, v in g.items() if k not in {"params", "lr"}} for g in run.optimizer.param_groups]
    run.optimizer.load_state_dict(_with_strides(state, run.parameters))
    if keep_options:
        for group, option in zip(run.optimizer.param_groups, options, strict=True):
            group.update(option)


def _check_counters(state: dict[str, Any]) -> None:
    """Raises ValueError for what :func:`snapshot` never writes, before anything of it is believed."""

    def natural(value: Any) -> bool:
        return type(value) is int and value >= 0

    def number(value: Any) -> bool:
        return type(value) in {int, float} and math.isfinite(value)

    best = state["best"]
    sound = {name: natural(state[name]) for name in ("epoch", "step", "epoch_start", "steps_per_epoch")}
    sound |= {name: number(state[name]) for name in ("lr", "lr_factor", "seconds", "train_seconds")}
    sound["scores"], sound["stop_reason"] = isinstance(state["scores"], dict), isinstance(state["stop_reason"], str)
    sound["logs"] = all(natural(state["logs"][name]) for name in ("metrics", "log"))
    sound["rollbacks"] = isinstance(state["rollbacks"], list) and all(
        entry.keys() == {"step", "to_step", "lr_factor"} and all(map(number, entry.values()))
        for entry in state["rollbacks"]
    )
    sound["best"] = best is None or (
        best.keys() == {"epoch", "monitor", "value", "step"}
        and natural(best["epoch"])
        and natural(best["step"])
        and isinstance(best["monitor"], str)
        and (number(best["value"]) or best["value"] in {math.inf, -math.inf})  # poor, and the best there is
    )
    if wrong := [name for name, fine in sound.items() if not fine]:
        raise ValueError(f"{', '.join(wrong)} cannot be so")


def _count(run: Run, state: dict[str, Any], same_epoch: bool) -> None:
    run.epoch, run.step, run.lr = state["epoch"], state["step"], state["lr"]
    run.lr_factor, run.rollbacks = state["lr_factor"], state["rollbacks"]
    run.best = Best(**state["best"]) if state["best"] else None
    run.scores, run.stop_reason = state["scores"], state["stop_reason"]
    run.epoch_start = state["epoch_start"] if same_epoch else run.step
    run.seconds, run.train_seconds = state["seconds"], state["train_seconds"] if same_epoch else 0.0


def _with_strides(state: dict[str, Any], parameters: list[torch.nn.Parameter]) -> dict[str, Any]:
    """The optimizer's state with each tensor in its parameter's memory format.

    A file keeps no strides, and a fused kernel that meets two formats computes wrong numbers.
    """
    for index, values in state.get("state", {}).items():
        parameter = parameters[index] if isinstance(index, int) and index < len(parameters) else None
        for name, value in values.items():
            if parameter is not None and isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return state
