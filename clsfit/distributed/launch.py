"""Which rank this process is, as a launcher such as torchrun says in the environment. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from clsfit.errors import ConfigError, printable

_ALONE = {"", "0", "1"}


@dataclass(frozen=True)
class Place:
    """A process among those that train one run.

    Attributes:
        rank: from 0; 0 is the one that writes files and speaks.
        world_size: how many ranks there are, at least 2.
        local_rank: from 0, among the ranks of this machine; also the number of its CUDA device.
        local_world_size: how many ranks are on this machine.
        address: where the ranks meet: a host.
        port: a TCP port there.
        attempt: of a launcher that starts all ranks anew after a failure, which start this is.
        hosted: whether the launcher itself keeps the store in which they meet, and rank 0 need not.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    port: int
    attempt: int = 0
    hosted: bool = False

    @property
    def one_machine(self) -> bool:
        """Whether every rank is on this machine."""
        return self.local_world_size == self.world_size

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size}"


def place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place, or None where it trains alone.

    Read are the variables that torchrun sets: ``WORLD_SIZE``, ``RANK``, ``LOCAL_RANK``,
    ``LOCAL_WORLD_SIZE`` (both optional), ``MASTER_ADDR``, ``MASTER_PORT``.

    Raises:
        ConfigError: one is missing, or makes no sense.
    """
    if environ.get("WORLD_SIZE", "") in _ALONE:
        return None
    world_size = _number(environ, "WORLD_SIZE", 2, 1 << 16)
    rank = _number(environ, "RANK", 0, world_size - 1)
    local_world_size = _number(environ, "LOCAL_WORLD_SIZE", 1, world_size, world_size)
    local_rank = _number(environ, "LOCAL_RANK", 0, local_world_size - 1, rank % local_world_size)
    return Place(
        rank,
        world_size,
        local_rank,
        local_world_size,
        environ.get("MASTER_ADDR") or "127.0.0.1",
        _number(environ, "MASTER_PORT", 1, 65535),
        _number(environ, "TORCHELASTIC_RESTART_COUNT", 0, 1 << 31, 0),
        environ.get("TORCHELASTIC_USE_AGENT_STORE", "") == "True",
    )


def quiet() -> None:
    """Keeps torch from telling of a lost connection in thirty lines, where there are several ranks.

    To be called before torch is imported. ``TORCH_CPP_LOG_LEVEL`` in the environment says otherwise.
    """
    if os.environ.get("WORLD_SIZE", "") not in _ALONE:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _number(environ: Mapping[str, str], name: str, least: int, most: int, default: int | None = None) -> int:
    given = environ.get(name, "")
    if not given and default is not None:
        return default
    if not (given.isascii() and given.isdigit()) or not least <= int(given) <= most:
        raise ConfigError(
            f"WORLD_SIZE asks for several processes, and {name} is {printable(given) or 'not set'}",
            f"environment {name}: a number from {least} to {most} is needed",
            "start all of them by torchrun, which sets it, or unset WORLD_SIZE",
        )
    return int(given)
