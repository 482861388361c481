"""What a checkpoint holds of a run, and how it comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from clsfit.engine.records import Best, LastSave
from clsfit.engine.state import (
    attributes,
    copied,
    flatten,
    from_blob,
    load_weights,
    restore_attributes,
    to_blob,
    unflatten,
    weights,
)
from clsfit.errors import CheckpointError, PluginError
from clsfit.storage import checkpoints, durable

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_KEEP = 2  # good checkpoints that are never pruned, beside the best one
_UNFIT = (LookupError, AttributeError, ValueError, TypeError, RuntimeError)
"""What loading a state raises that does not fit."""

_TELL = "tell the component's authors: load_state_dict must be the inverse of state_dict"


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

    Raises:
        PluginError: a component's state is not JSON values and tensors.
        ResourceError: an earlier save has failed.
    """
    directory, started = run.directory, time.monotonic()
    assert directory is not None
    taken = snapshot(run)
    copying = time.monotonic() - started

    def write() -> None:
        begun = time.monotonic()
        directory.metrics.sync()
        directory.log.sync()
        checkpoints.save(directory.checkpoints, taken.step, taken.files())
        checkpoints.prune(directory.checkpoints, keep=_KEEP, never=taken.kept)
        now = time.monotonic()
        run.last_save = LastSave(taken.step, now, now - begun + copying)
        run.reporter.say(
            f"checkpoint of step {taken.step} saved in {now - begun:.3f} s, copied in {copying:.3f} s", detail=True
        )

    run.saver.do(write)


def snapshot(run: Run) -> Snapshot:
    """Everything that a resume needs, copied.

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
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "precision": run.precision.state_dict(),
        "sums": run.sums.state_dict(),
        "callbacks": {
            name: attributes(callback)
            for name, callback in run.hooks.callbacks.items()
            if hasattr(callback, "state_dict")
        },
    }
    flat = {name: flatten(value, name, tensors) for name, value in state.items()}
    kept = frozenset({run.best.step} if run.best else ())
    return Snapshot(run.step, kept, flat, copied(weights(run.model, run.loss)), copied(tensors))


def prove(run: Run) -> None:
    """Loads the checkpoint that was just saved into the very run it was taken of, which must stay as it is.

    Raises:
        PluginError: a component cannot load its own state, or is another one afterwards.
        CheckpointError: the disk has not kept what was written.
    """
    assert run.directory is not None
    before = snapshot(run)
    saved, skipped = checkpoints.newest_verified(run.directory.checkpoints)
    if saved is None or saved.step != run.step:
        raise CheckpointError(
            "the first checkpoint cannot be read back",
            "; ".join(f"{path.name}: {reason}" for path, reason in skipped) or str(run.directory.checkpoints),
            "check the disk, or write elsewhere with -o",
        )
    try:
        load(run, saved)
    except CheckpointError as error:
        raise PluginError(
            f"a state cannot be loaded again: {error.what}", "", "tell the component's authors"
        ) from error
    after = snapshot(run)
    old_state, new_state = ({n: json.dumps(v) for n, v in s.state.items() if n != "logs"} for s in (before, after))
    different = [name for name in old_state if old_state[name] != new_state[name]]
    for old, new in ((before.weights, after.weights), (before.tensors, after.tensors)):
        different += [name for name in old if name not in new or not _equal(old[name], new[name])]
    if different:
        raise PluginError(
            "a state is another one after it was saved and loaded",
            f"different: {', '.join(different[:5])}",
            _TELL,
        )


def check_room(run: Run) -> None:
    """Warns where the disk seems too full for what the run is going to save.

    That is as many checkpoints as are kept at once, the optimizer's part of them as large as twice the
    weights, and the model files.
    """
    assert run.directory is not None
    size = sum(tensor.nbytes for tensor in weights(run.model, run.loss).values())
    needed, free = (_KEEP + 2) * 3 * size + 3 * size, durable.free_bytes(run.directory.path)
    if free is not None and free < needed:
        run.say(f"warning: the run may need {needed:,} bytes for its checkpoints, and {free:,} are free")


def restore(run: Run, saved: checkpoints.Checkpoint, *, changed: bool = False) -> None:
    """Brings ``run`` to where ``saved`` was taken, its logs too; arguments and errors as for :func:`load`."""
    assert run.directory is not None
    state = load(run, saved, changed=changed)
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


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same bytes; not a number is equal to itself here."""
    return one.dtype == other.dtype and torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (one, other)))
