"""Seeded damage: to bytes, to texts, and to trees of JSON values."""

from __future__ import annotations

import copy
import random
from typing import Any

NASTY_TEXTS = (
    "",
    "none",
    "null",
    "../x.py",
    "os:system",
    "__import__('os').system('true')",
    "a.b.c",
    "clsfit:mlp",
    "nobody:thing",
    "\0",
    "a\0b",
    "\x1b[2J",
    "\u202egnp.exe",
    "\ud800",
    "é" * 300,
    "x" * 100_000,
    "%s%n{0}",
    "[/bold]",
    "!!python/object/apply:os.system",
    "nan",
    "1e999",
    "-",
    "--",
    "=",
    "cuda:99",
    "\r\n",
)
NASTY_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    10**9,
    -(10**9),
    10**12,
    2**31,
    2**63,
    2**64,
    10**400,
    0.5,
    -0.5,
    1e-300,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
)
_TOKENS = b"\"{}[]:,-&*!|>#%@`'\n\t \\0123456789eE.+~\x00\x1b\xff"


def value(rng: random.Random) -> Any:
    """One value that hardly any place expects."""
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NASTY_TEXTS)
    if kind < 6:
        return rng.choice(NASTY_NUMBERS)
    if kind == 6:
        return rng.choice([None, True, False])
    return rng.choice([[], {}, [[]], [None], {"": None}, [1, "a"], {"name": 1}, deep(rng.choice([5, 100, 900]))])


def deep(levels: int) -> Any:
    """Lists in lists."""
    tree: Any = 0
    for _ in range(levels):
        tree = [tree]
    return tree


def tree(given: Any, rng: random.Random) -> Any:
    """A copy of ``given`` with one to three nodes replaced, taken out, doubled or renamed."""
    changed = copy.deepcopy(given)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _places(changed)
        if not places:
            return value(rng)
        _hurt(*rng.choice(places), rng)
    return changed


def _hurt(holder: Any, key: Any, rng: random.Random) -> None:
    """Damages ``holder[key]``, which an earlier damage may have taken away."""
    try:
        kind = rng.randrange(10)
        old = holder[key]
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(old))
        elif kind == 1:
            holder[str(value(rng))[:200]] = holder.pop(key)
        elif kind in {2, 3} and isinstance(old, int | float) and not isinstance(old, bool):
            holder[key] = rng.choice([old + 1, -old, old * 10**9, old / 3, str(old), [old]])
        elif kind == 4 and isinstance(old, list):
            holder[key] = old * rng.choice([0, 2, 50])
        elif kind == 5:
            holder[key] = {"x": old}
        else:
            holder[key] = value(rng)
    except (KeyError, IndexError, OverflowError):
        return


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below ``node``."""
    found, waiting = [], [node]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
        for key in keys:
            found.append((item, key))
            waiting.append(item[key])
    return found


def data(given: bytes, rng: random.Random) -> bytes:
    """``given`` with bits turned, parts cut, doubled, moved or written over."""
    changed = bytearray(given)
    for _ in range(rng.choice([1, 1, 2, 5])):
        size = len(changed)
        at, upto = sorted((rng.randrange(size + 1), rng.randrange(size + 1)))
        kind = rng.randrange(7)
        if kind == 0 and size:
            place = min(at, size - 1)
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : min(upto, at + 40)]
        elif kind == 3:
            changed[at:at] = changed[at : min(upto, at + 200)]
        elif kind == 4:
            changed[at:at] = bytes(rng.choice(_TOKENS) for _ in range(rng.randrange(1, 12)))
        elif kind == 5:
            changed[at : min(upto, at + 8)] = rng.randbytes(rng.randrange(9))
        elif kind == 6 and size:
            place = min(at, size - 1)
            changed[place] = rng.choice(_TOKENS)
    return bytes(changed)
