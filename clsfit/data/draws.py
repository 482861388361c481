"""A random number for each name, so that neither the order of names nor other names matter to a draw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def draws(names: Iterable[str], seed: int, number: int = 0) -> npt.NDArray[np.uint64]:
    """[N] uint64: a keyed hash of each name.

    Args:
        names: N texts.
        seed: any integer.
        number: which of several independent draws, >= 0.
    """
    secret, salt = (seed % (1 << 64)).to_bytes(8, "little"), number.to_bytes(8, "little")
    hashes = b"".join(
        hashlib.blake2b(
            name.encode("utf-8", "surrogateescape"), digest_size=8, key=secret, salt=salt, person=b"clsfit-split"
        ).digest()
        for name in names
    )
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)
