"""Options that the core gives to every component of a kind, whoever wrote it.

They are written like the component's own (``--loss.class_weights balanced``), but the core obeys them
and the factory never sees them. A component that has an option of the same name keeps it to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What every loss takes."""

    class_weights: Annotated[
        Literal["balanced", "effective", "sqrt"] | dict[str, Annotated[float, Ge(0)]] | None,
        "times each sample's loss, if it has one: by the training pictures per class, or {name: weight}",
    ] = None


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What every model takes."""

    weights: Annotated[
        str | None,
        "what training starts from: none (random), default (pretrained), or a .safetensors file",
    ] = None


ADDED: dict[str, type[Any]] = {"loss": LossOptions, "model": ModelOptions}
"""For each kind that has any: the dataclass whose fields are the options."""
