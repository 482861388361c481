"""JSON as clsfit writes it: strict, ASCII, the same bytes for the same values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """``value`` as strict JSON text; compact unless ``indent`` is given.

    NaN and infinities, for which JSON has no word, become null. Characters beyond ASCII are escaped,
    so that names which are not valid Unicode (undecodable file names) survive too.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, separators=separators, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
