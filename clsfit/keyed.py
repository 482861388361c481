"""Randomness as a function of a key.

Every draw that concerns data is a pure function of (seed, epoch, position in the epoch's order,
purpose); every order is a function of (seed, epoch). No generator carries a state from one draw to
the next, so the number of workers, the tier of the data path, an interruption and a resume cannot
change a picture, and nothing has to be saved.

The generator is splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators", https://doi.org/10.1145/2660193.2660195) used as a counter-based hash. The numpy form
(uint64) and the torch form (int64, for any device) give equal bits; golden values pin both.

Plugins use :class:`Key`, which an augmentation's ``draw`` receives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["Key", "key", "permutation", "step_seed", "step_seeds", "uniform", "uniform_torch"]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment, the golden ratio in 64 bits
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_DRAW = 0xD6E8FEB86659FD93  # odd, so that distinct draw numbers stay distinct


def _mix_int(z: int) -> int:
    """splitmix64's finalizer on a Python integer."""
    z &= _MASK
    z = ((z ^ (z >> 30)) * _MIX1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX2) & _MASK
    return z ^ (z >> 31)


def key(seed: int, *parts: int | str) -> int:
    """A 64-bit key from a seed and any number of parts, each an integer or a name.

    Order matters, and ``key(s, "a", "b")`` differs from ``key(s, "ab")``.
    """
    state = _mix_int(seed + _GAMMA)
    for part in parts:
        if isinstance(part, str):
            data = part.encode()
            state = _mix_int(state ^ (len(data) + _GAMMA))
            for start in range(0, len(data), 8):
                state = _mix_int(state + int.from_bytes(data[start : start + 8], "little") + _GAMMA)
        else:
            state = _joined(state, int(part))
    return state


def _joined(state: int, part: int) -> int:
    return _mix_int(state + part * _MIX1 + _GAMMA)


def _bits(base: int, index: npt.NDArray[np.integer], draws: int) -> npt.NDArray[np.uint64]:
    """[B, draws] uint64: draw j of sample i under key ``base``."""

    sample = _mix_array(index.astype(np.uint64)[:, None] * np.uint64(_GAMMA) + np.uint64(base))
    count = np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(_DRAW)
    return _mix_array(sample + count)


def _mix_array(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """:func:`_mix_int` of each."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX2)
    return z ^ (z >> np.uint64(31))


def uniform(base: int, index: npt.NDArray[np.integer], draws: int) -> npt.NDArray[np.float64]:
    """[B, draws] float64 in [0, 1): ``draws`` independent values for each of ``index`` [B]."""
    return (_bits(base, index, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_torch(base: int, index: torch.Tensor, draws: int) -> torch.Tensor:
    """The values of :func:`uniform`, to the bit, computed on ``index``'s device.

    Args:
        base: a key.
        index: [B] int64.
        draws: values per sample.
    """
    import torch

    def signed(z: int) -> int:
        z &= _MASK
        return z - (1 << 64) if z >> 63 else z

    def shift(z: torch.Tensor, by: int) -> torch.Tensor:
        return (z >> by) & ((1 << (64 - by)) - 1)  # logical, where int64's >> is arithmetic

    def mix(z: torch.Tensor) -> torch.Tensor:
        z = (z ^ shift(z, 30)) * signed(_MIX1)
        z = (z ^ shift(z, 27)) * signed(_MIX2)
        return z ^ shift(z, 31)

    sample = mix(index.to(torch.int64)[:, None] * signed(_GAMMA) + signed(base))
    count = torch.arange(1, draws + 1, device=index.device) * signed(_DRAW)
    return shift(mix(sample + count), 11).to(torch.float64) * 2.0**-53


def permutation(base: int, length: int) -> npt.NDArray[np.int64]:
    """[length] int64: a permutation of 0..length-1, the same on every machine and numpy version."""
    order = np.argsort(_bits(base, np.arange(length), 1)[:, 0], kind="stable")
    return order.astype(np.int64, copy=False)


def step_seed(seed: int, step: int) -> int:
    """Non-negative 63-bit seed for torch's default generator before optimizer step ``step``.

    It is ``key(seed, "step", step) >> 1``.
    """
    return _joined(_step_key(seed), step) >> 1


def step_seeds(seed: int, first: int, count: int) -> list[int]:
    """:func:`step_seed` of ``count`` steps from ``first`` on, which costs less than one by one."""
    steps = np.arange(first, first + count, dtype=np.uint64)
    base = np.uint64((_step_key(seed) + _GAMMA) & _MASK)
    seeds: list[int] = (_mix_array(steps * np.uint64(_MIX1) + base) >> np.uint64(1)).tolist()
    return seeds


@cache
def _step_key(seed: int) -> int:
    return key(seed, "step")  # once, not in every step


@dataclass(frozen=True, slots=True)
class Key:
    """What the random draws of one batch depend on.

    Attributes:
        seed: the run's ``--seed``.
        epoch: from 0.
        positions: [B] int64, each sample's position in the epoch's order.
        purpose: who draws; the core sets it to the component's name and place in the list.
    """

    seed: int
    epoch: int
    positions: npt.NDArray[np.int64]
    purpose: str

    def uniform(self, draws: int) -> npt.NDArray[np.float64]:
        """[B, draws] float64 in [0, 1)."""
        return uniform(key(self.seed, self.epoch, self.purpose), self.positions, draws)

    def integers(self, draws: int, high: int) -> npt.NDArray[np.int64]:
        """[B, draws] int64 in 0..high-1, each equally likely (up to 2**-53 * high)."""
        return np.floor(self.uniform(draws) * high).astype(np.int64)

    def for_purpose(self, purpose: str) -> Key:
        """The same samples, independent draws."""
        return replace(self, purpose=f"{self.purpose}/{purpose}")
