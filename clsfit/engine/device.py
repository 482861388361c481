"""Which device, how many threads, which memory format: decided once, before step 0."""

from __future__ import annotations

import os

import torch

from clsfit.distributed.launch import Place
from clsfit.errors import ConfigError, ResourceError

_SMALL = 1 << 14  # values in a batch: 32 pictures of 22x22


def choose(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA, else MPS, else CPU.

    Raises:
        ConfigError: there is no kind of device of that name.
        ResourceError: this machine, or this build of torch, does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (index and not index.isdigit()):
        raise ConfigError(f"there is no device {name!r}", "option --device", "use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ResourceError(
                f"device {name!r} is not available",
                f"torch {torch.__version__} sees {count} CUDA devices",
                "use --device cpu, or install a CUDA build of torch and its driver",
            )
        device = torch.device("cuda", int(index or 0))
        torch.cuda.set_device(device)  # for what asks for the present one: graphs, compiled code, collectives
        return device
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("device 'mps' is not available", f"torch {torch.__version__}", "use --device cpu")
    return torch.device(kind)


def choose_among(name: str, place: Place) -> torch.device:
    """As :func:`choose`, for one of several ranks: of CUDA devices each takes its own.

    Raises:
        ConfigError, ResourceError: as :func:`choose`; or ranks cannot share what is named.
    """
    kind, _, index = name.partition(":")
    if (kind == "cuda" and index) or kind == "mps":
        raise ConfigError(
            f"--device {name} is one device, and there are {place.world_size} ranks",
            "option --device",
            "give --device cuda: each rank takes the one with its number; or --device cpu",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cuda":
        return choose(name)
    return choose(f"cuda:{place.local_rank}")


def set_threads(threads: int | None, values: int, processes: int = 1) -> int:
    """Sets torch's threads on the CPU, and returns how many it uses.

    The count is part of a run's record: one thread and two give different bits.

    Args:
        threads: as asked for. None is torch's own choice, which respects ``OMP_NUM_THREADS``; without
            that variable it is one thread where batches are so small that threads only wait for each
            other.
        values: pixels times channels of a batch.
        processes: ranks on this machine, which share its cores.
    """
    if threads is None and values <= _SMALL and "OMP_NUM_THREADS" not in os.environ:
        threads = 1
    if threads is None and processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, torch.get_num_threads() // processes)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def memory_format(model: torch.nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last for a model that convolves, on CUDA and on CPUs, where that was measured to be faster."""
    convolves = any(parameter.ndim == 4 for parameter in model.parameters())
    return torch.channels_last if convolves and device.type != "mps" else torch.contiguous_format


def reseed(device: torch.device, seed: int) -> None:
    """Seeds torch's default generators, which layers such as dropout draw from, without a wait."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
