"""State as JSON and tensors: what checkpoints hold of every object of a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from clsfit.errors import PluginError


def attributes(thing: Any) -> Any:
    """The state of ``thing``: its ``state_dict()``, or its attributes where it has none."""
    return thing.state_dict() if hasattr(thing, "state_dict") else dict(vars(thing))


def restore_attributes(thing: Any, state: Any, device: torch.device) -> None:
    """The inverse of :func:`attributes`, with tensors moved to ``device``."""
    state = _to_device(state, device)
    if hasattr(thing, "load_state_dict"):
        thing.load_state_dict(state)
    else:
        vars(thing).update(state)


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to_device(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to_device(item, device) for item in value)
    return value


def flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A JSON form of ``value``; its tensors are moved into ``tensors``, under their paths.

    Raises:
        PluginError: a value is neither JSON nor a tensor; ``path`` begins with its owner's name.
    """
    if isinstance(value, torch.Tensor):
        while path in tensors:  # keys with dots, or 1 beside "1", can give two tensors one path
            path += "'"
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [flatten(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [flatten(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        # pairs, since an optimizer's state is keyed by integers, which JSON's objects cannot be
        return {"items": [[key, flatten(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    raise PluginError(
        f"the state of {path.split('.')[0]} holds a {type(value).__name__}, which cannot be saved",
        f"at {path}",
        "state_dict() may hold JSON values and tensors only",
    )


def unflatten(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The inverse of :func:`flatten`."""
    if isinstance(value, list):
        return [unflatten(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "tuple" in value:
            return tuple(unflatten(item, tensors) for item in value["tuple"])
        return {key: unflatten(item, tensors) for key, item in value["items"]}
    return value


def check_kinds(own: Any, saved: Any, path: str) -> None:
    """Compares the kinds of values that a state has now with those of a saved one, where both have a value.

    What only one of them has, and None, may be anything: state grows while a run goes on.

    Raises:
        ValueError: a number stands in place of a text, a list in place of a number, and the like.
    """
    if own is None or saved is None:
        return
    kinds: tuple[Any, ...] = (Mapping, list | tuple, str, torch.Tensor | np.generic | bool | int | float)
    kind: Any = next((kind for kind in kinds if isinstance(own, kind)), object)
    if not isinstance(saved, kind):
        raise ValueError(f"{path} cannot be a {type(saved).__name__}")
    if isinstance(own, Mapping):
        for key in own.keys() & saved.keys():
            check_kinds(own[key], saved[key], f"{path}.{key}")
    elif isinstance(own, list | tuple):
        for i, (one, other) in enumerate(zip(own, saved, strict=False)):
            check_kinds(one, other, f"{path}.{i}")


def copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies on the host, contiguous, which later training does not change."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def to_blob(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The tensors as a safetensors file; memory formats are not kept, shared memory is written twice."""
    plain: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        plain[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return safetensors.torch.save(plain)


def from_blob(blob: bytes) -> dict[str, torch.Tensor]:
    """The inverse of :func:`to_blob`, on the CPU.

    Raises:
        ValueError: it is no safetensors file, or not an intact one.
    """
    try:
        return safetensors.torch.load(blob)
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a dtype that torch has not
        raise ValueError(f"no intact safetensors: {' '.join(str(error).split())}") from error


def weights(model: torch.nn.Module, loss: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All tensors of a model and a loss, under ``model.`` and ``loss.``."""
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()} | {
        f"loss.{name}": tensor for name, tensor in loss.state_dict().items()
    }


def load_weights(model: torch.nn.Module, loss: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of :func:`weights`; memory formats of the modules are kept."""
    for prefix, module in (("model.", model), ("loss.", loss)):
        named = OrderedDict((n.removeprefix(prefix), t) for n, t in tensors.items() if n.startswith(prefix))
        # some modules ask for the version of their state, which a file does not keep
        named._metadata = getattr(module.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
        module.load_state_dict(named)
