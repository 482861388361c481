"""What a checkpoint and a model file hold of a run."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from clsfit.engine.state import attributes, flatten, from_blob, restore_attributes, to_blob, unflatten
from clsfit.errors import CheckpointError
from clsfit.storage import checkpoints, modelfile

if TYPE_CHECKING:
    from clsfit.engine.run import Run

_KEEP = 2  # good checkpoints that are never pruned, beside the best one


def save(run: Run) -> None:
    """Saves ``run`` durably as the checkpoint of its step."""
    assert run.directory is not None
    files = snapshot(run)
    checkpoints.save(run.directory.checkpoints, run.step, files)
    checkpoints.prune(run.directory.checkpoints, keep=_KEEP, never={run.best.step} if run.best else set())


def snapshot(run: Run) -> dict[str, bytes]:
    """The files of a checkpoint.

    Orders, augmentations and dropout are functions of seed, epoch and step, so there is no generator
    state to save. Logs are synced first; their lengths say where a resume cuts them.

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
        "seconds": run.seconds,
        "train_seconds": run.train_seconds,
        "logs": {"metrics": run.directory.metrics.sync(), "log": run.directory.log.sync()},
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
    return {
        "model.safetensors": to_blob(weights(run)),
        "state.safetensors": to_blob(tensors),
        "state.json": json.dumps(flat).encode(),
    }


def restore(run: Run, saved: checkpoints.Checkpoint, *, changed: bool = False) -> None:
    """Brings ``run``, freshly built, to where ``saved`` was taken.

    Args:
        run: built by the saved run's configuration.
        saved: the checkpoint.
        changed: whether that configuration was changed; the optimizer's options are then the new ones,
            and an epoch that has become another one (in steps, or in metrics) begins anew.

    Raises:
        CheckpointError: the state does not fit the run's objects.
    """
    assert run.directory is not None
    options = [{k: v for k, v in g.items() if k not in {"params", "lr"}} for g in run.optimizer.param_groups]
    try:
        load_weights(run.model, run.loss, from_blob(saved.read("model.safetensors")))
        tensors = from_blob(saved.read("state.safetensors"))
        state = {name: unflatten(v, tensors) for name, v in json.loads(saved.read("state.json")).items()}
        run.optimizer.load_state_dict(_with_strides(state["optimizer"], run.parameters))
        if changed:
            for group, option in zip(run.optimizer.param_groups, options, strict=True):
                group.update(option)
        run.scheduler.load_state_dict(state["scheduler"])
        run.precision.load_state_dict(state["precision"])
        same_epoch = not changed or (
            state["steps_per_epoch"] == run.steps_per_epoch
            and state["sums"]["metrics"].keys() == run.sums.metrics.keys()
        )
        if same_epoch and state["step"] > state["epoch_start"]:
            run.sums.load_state_dict(state["sums"], run.device)
        for name, value in state["callbacks"].items():
            if name in run.hooks.callbacks:
                restore_attributes(run.hooks.callbacks[name], value, run.device)
    except (LookupError, AttributeError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise CheckpointError(
            f"the checkpoint does not fit this run: {type(error).__name__}: {reason}",
            str(saved.path),
            "resume with the configuration and the plugin versions of the run, or start anew with --overwrite",
        ) from error
    from clsfit.engine.run import Best

    run.epoch, run.step, run.lr = state["epoch"], state["step"], state["lr"]
    run.best = Best(**state["best"]) if state["best"] else None
    run.scores, run.stop_reason = state["scores"], state["stop_reason"]
    run.epoch_start = state["epoch_start"] if same_epoch else run.step
    run.seconds, run.train_seconds = state["seconds"], state["train_seconds"] if same_epoch else 0.0
    run.directory.metrics.truncate(state["logs"]["metrics"])
    run.directory.log.truncate(state["logs"]["log"])


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


def weights(run: Run) -> dict[str, torch.Tensor]:
    """All tensors of the model and the loss, under ``model.`` and ``loss.``."""
    return {f"model.{name}": tensor for name, tensor in run.model.state_dict().items()} | {
        f"loss.{name}": tensor for name, tensor in run.loss.state_dict().items()
    }


def load_weights(model: torch.nn.Module, loss: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of :func:`weights`; memory formats of the modules are kept."""
    for prefix, module in (("model.", model), ("loss.", loss)):
        named = OrderedDict((n.removeprefix(prefix), t) for n, t in tensors.items() if n.startswith(prefix))
        # some modules ask for the version of their state, which a file does not keep
        named._metadata = getattr(module.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
        module.load_state_dict(named)


def save_model(run: Run, name: str) -> None:
    """Writes the model file ``name``.safetensors: weights, and in its header all that applying them needs."""
    assert run.directory is not None
    header = dict(run.header) | {"epoch": run.epoch, "step": run.step, "scores": _lasting(run.scores)}
    modelfile.write(run.directory.path / f"{name}.safetensors", to_blob(weights(run)), header)


def _lasting(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores without clock times, so that the same training gives the same file to the byte."""
    return {key: value for key, value in scores.items() if key not in {"seconds", "train_images_per_second"}}


def save_summary(run: Run) -> None:
    """Writes summary.json, which says that the run is complete."""
    if run.directory is None:
        return
    best = run.directory.path / "best.safetensors"
    run.directory.write_summary(
        {
            "best": {"epoch": run.best.epoch, "monitor": run.best.monitor, "value": run.best.value}
            if run.best
            else None,
            "epochs": run.epoch,
            "stop_reason": run.stop_reason,
            "seconds": round(run.seconds, 3),
            "model": best.name if best.exists() else "last.safetensors",
        }
    )
