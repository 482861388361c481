"""What the checks share: building a component as a run does, and saying what is wrong."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clsfit.contracts import FILLED

if TYPE_CHECKING:
    import torch

Factory = Callable[..., Any]


def made(factory: Factory, options: Mapping[str, Any], **filled: Any) -> Any:
    """The component, with what its signature lists of ``filled`` and of the core's other values."""
    count = filled.get("num_classes", 4)
    known = {
        "num_classes": count,
        "class_names": tuple(f"class_{k}" for k in range(count)),
        "class_counts": tuple(10 + k for k in range(count)),
        "in_channels": 3,
        "input_size": (8, 8),
        "total_steps": 20,
        "steps_per_epoch": 5,
        "seed": 0,
    } | filled
    listed = FILLED & inspect.signature(factory).parameters.keys()
    missing = sorted(listed - known.keys())
    require(not missing, f"this kind of component is not given {', '.join(missing)}")
    return factory(**options, **{name: known[name] for name in listed})


def made_module(factory: Factory, options: Mapping[str, Any], **filled: Any) -> torch.nn.Module:
    import torch

    torch.manual_seed(0)
    module = made(factory, options, **filled)
    require(isinstance(module, torch.nn.Module), f"the factory returns a torch.nn.Module, not {named(module)}")
    return module  # type: ignore[no-any-return]


def values(*shape: int) -> torch.Tensor:
    """Floats between -1 and 1 that are the same in every run."""
    import torch

    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float32) * 2.3 + 0.5).reshape(shape)


def check_saveable(state: Any, owner: str) -> None:
    from clsfit.engine.state import flatten
    from clsfit.errors import PluginError

    try:
        flatten(state, owner, {})
    except PluginError as error:
        raise AssertionError(f"{error.what}: {error.remedy}") from error


def text_of(state: Any) -> str:
    """A state as text, to compare two."""
    from clsfit.engine.state import flatten

    tensors: dict[str, torch.Tensor] = {}
    flat = flatten(state, "state", tensors)
    return json.dumps([flat, {name: tensor.tolist() for name, tensor in tensors.items()}])


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))


def named(value: object) -> str:
    return f"a {type(value).__name__}"


def require(condition: bool, sentence: str) -> None:
    """``assert``, also under ``python -O``."""
    if not condition:
        raise AssertionError(sentence)
