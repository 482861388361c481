"""Drawn parameters on the device, without waiting for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def sent(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on ``device``; on CUDA through pinned memory, from which a copy does not wait."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
