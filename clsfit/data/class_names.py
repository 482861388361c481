"""Classes go by their names: those that a split lacks, those that training does not know, and which of them are one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

from clsfit.errors import DataError, printable

_SHOWN = 3
_NEAR = 0.7  # difflib's ratio from which two names are near: dog and dogs 0.86, cat and car 0.67


def listed(names: Sequence[str]) -> str:
    """The first of ``names``, printable, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name) for name in names[:_SHOWN]) + more


def lacking(what: str, present: Collection[str], classes: Collection[str]) -> tuple[str, ...]:
    """A line on those of ``classes`` that are not ``present`` in ``what``, a split or all data; none where all are."""
    absent = sorted(set(classes) - set(present))
    all_of_them = "any class" if len(absent) == len(set(classes)) else listed(absent)
    return (f"{what} has no pictures of: {all_of_them}",) if absent else ()


def lacking_by_split(present: Iterable[tuple[str, str]], splits: Collection[str]) -> tuple[str, ...]:
    """A line for each of ``splits`` that lacks classes of training.

    Args:
        present: (split, class name) of each picture; those without a split are trained on.
        splits: those to look at; of training they need not be told.
    """
    names: dict[str, set[str]] = {}
    for split, name in set(present):
        names.setdefault(split or "train", set()).add(name)
    trained = names.get("train", set())
    return tuple(
        line
        for split in ("val", "test")
        if split in splits
        for line in lacking(split, names.get(split, set()), trained)
    )


def unknown(present: Iterable[tuple[str, str]], classes: Sequence[str]) -> dict[str, str]:
    """The names in ``present`` that are none of ``classes``, sorted, each with what it may be meant to be, or nothing.

    That is a class whose name is near, and of which the splits with the unknown one have no pictures.

    Args:
        present: (split, class name) of each picture.
        classes: in their order.
    """
    splits: dict[str, set[str]] = {}
    for split, name in set(present):
        splits.setdefault(name, set()).add(split)
    found: dict[str, str] = {}
    free = list(classes)
    for name in sorted(splits.keys() - set(classes)):
        candidates = [other for other in free if not splits.get(other, set()) & splits[name]]
        found[name] = _nearest(name, candidates)
        free = [other for other in free if other != found[name]]
    return found


def refusal(found: Mapping[str, str], who: str, where: str, classes: Sequence[str], remedy: str) -> DataError:
    """The error for classes that are not known.

    Args:
        found: as :func:`unknown` gives it, at least one.
        who: does not know them: ``"training"`` or ``"the model"``.
        where: they are.
        classes: that are known.
        remedy: what to do about them.
    """
    names, meant = list(found), {name: other for name, other in found.items() if other}
    pairs = [f"{printable(other)!r} for {printable(name)!r}" for name, other in list(meant.items())[:_SHOWN]]
    hint = f"did you mean {', '.join(pairs)}? " if pairs else ""
    known = ", ".join(printable(name) for name in classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
    return DataError(
        f"{who} does not know the {'class' if len(names) == 1 else 'classes'} {listed(names)}",
        where,
        f"{hint}{remedy}; known: {known}",
    )


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """A line on classes that are probably one: their names differ in case or in how Unicode writes them."""
    first: dict[str, str] = {}
    pairs = []
    for name in classes:
        same = first.setdefault(_folded(name), name)
        if same != name:
            pairs.append(f"{printable(same)!r} and {printable(name)!r}")
    shown = ", ".join(pairs[:_SHOWN]) + (f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
    return (f"classes whose names look alike are different classes: {shown}",) if pairs else ()


def _nearest(name: str, candidates: Sequence[str]) -> str:
    """The one of ``candidates`` that ``name`` probably stands for, or an empty text."""
    plain: dict[str, str] = {}
    for other in candidates:
        plain.setdefault(_plain(other), other)
    close = get_close_matches(_plain(name), plain, 1, _NEAR)
    return plain[close[0]] if close else ""


def _plain(name: str) -> str:
    """A name without what people write now so, now so: case, blanks, hyphens, underscores."""
    return re.sub(r"[\s_-]+", " ", _folded(name)).strip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()
