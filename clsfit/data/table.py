"""The one table that every source of pictures becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clsfit.data import class_names
from clsfit.errors import DataError, printable

SPLITS = ("train", "val", "test")
"""The names of splits; a row without one has the empty text."""


@dataclass(frozen=True, eq=False)
class SampleTable:
    """One row per picture.

    Attributes:
        paths: N identifiers, relative to DATA with ``/``, or as a table of pictures has them; unique unless
            no row has a label. Bytes of a file name that are no UTF-8 are surrogate escapes.
        classes: K names, each once; a class is its name, its index only a place in this table.
        targets: [N] int64, indices into ``classes``; -1 is unlabelled.
        splits: N texts, each of :data:`SPLITS` or empty.
        groups: N names of what must not be divided by a split, or empty: no groups.
        weights: [N] float64, finite and not negative, or None: all 1.

    Raises:
        DataError: an attribute is not as said above, or there are no rows.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    splits: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    weights: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        number = len(self.paths)
        for name in ("paths", "classes", "splits", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "targets", _whole(self.targets))
        object.__setattr__(self, "splits", self.splits or ("",) * number)
        if self.weights is not None:
            object.__setattr__(self, "weights", np.ascontiguousarray(self.weights, dtype=np.float64))
        self._check_lengths()
        self._check_values()

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """[M] int64: the rows of ``split``, ascending."""
        return np.flatnonzero(np.array([name == split for name in self.splits], dtype=bool)).astype(np.int64)

    def counts(self, split: str) -> tuple[int, ...]:
        """K numbers: the labelled pictures of each class in ``split``."""
        targets = self.targets[self.rows(split)]
        counted = np.bincount(targets[targets >= 0], minlength=len(self.classes))
        return tuple(int(count) for count in counted)

    def labels(self) -> tuple[str, ...]:
        """N class names; empty where a row is unlabelled."""
        names = (*self.classes, "")  # -1 is the last
        return tuple(names[target] for target in self.targets.tolist())

    def with_splits(self, splits: Sequence[str]) -> SampleTable:
        """This table with other splits, N texts."""
        return replace(self, splits=tuple(splits) or ("",) * len(self))

    def with_classes(self, classes: Sequence[str]) -> SampleTable:
        """This table with a model's classes, in their order; labels are matched by name.

        Raises:
            DataError: a class of the table that the model does not know.
        """
        if self.classes == tuple(classes):
            return self
        place = {name: index for index, name in enumerate(classes)}
        if unknown := class_names.unknown({("", name) for name in self.classes}, classes):
            raise class_names.refusal(
                unknown, "the model", "the data set's classes", classes, "judge it on its own classes"
            )
        index = np.array([place[name] for name in self.classes], dtype=np.int64)
        targets = np.where(self.targets >= 0, index[self.targets], -1)
        return replace(self, classes=tuple(classes), targets=targets)

    def select(self, rows: npt.NDArray[np.int64]) -> SampleTable:
        """The table of ``rows`` [M] int64, in their order; all classes stay."""
        chosen = np.asarray(rows, dtype=np.int64)
        places = chosen.tolist()
        return replace(
            self,
            paths=tuple(self.paths[i] for i in places),
            targets=self.targets[chosen],
            splits=tuple(self.splits[i] for i in places),
            groups=tuple(self.groups[i] for i in places) if self.groups else (),
            weights=None if self.weights is None else self.weights[chosen],
        )

    def fingerprint(self, sizes: Sequence[int] | npt.NDArray[np.int64] | None = None) -> str:
        """Hash over what the pictures are called, belong to and weigh: 64 hex digits.

        Args:
            sizes: N sizes in bytes, where the source knows them; they are hashed too.
        """
        digest = hashlib.sha256()
        for part in (self.classes, self.paths):
            text = "\0".join(part).encode("utf-8", "surrogateescape")
            digest.update(f"{len(part)} {len(text)}\n".encode() + text)
        digest.update(self.targets.astype("<i8").tobytes())
        if sizes is not None:
            digest.update(np.asarray(sizes).astype("<i8").tobytes())
        if self.weights is not None:
            digest.update(self.weights.astype("<f8").tobytes())
        return digest.hexdigest()

    def _check_lengths(self) -> None:
        number = len(self.paths)
        if not number:
            raise DataError("there are no pictures")
        if self.targets.shape != (number,):
            raise DataError(f"{number} pictures, but targets of shape {self.targets.shape}")
        for name in ("splits", "groups"):
            values = getattr(self, name)
            if len(values) not in ({number} if name == "splits" else {0, number}):
                raise DataError(f"{number} pictures, but {len(values)} {name}")
        if self.weights is not None and self.weights.shape != (number,):
            raise DataError(f"{number} pictures, but weights of shape {self.weights.shape}")

    def _check_values(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"class {_first_double(self.classes)!r} is named twice")
        if self.targets.min() < -1 or self.targets.max() >= len(self.classes):
            wrong = int(np.flatnonzero((self.targets < -1) | (self.targets >= len(self.classes)))[0])
            raise DataError(
                f"label {self.targets[wrong]} is outside the {len(self.classes)} classes", printable(self.paths[wrong])
            )
        unknown = set(self.splits) - {*SPLITS, ""}
        if unknown:
            raise DataError(f"split {min(unknown)!r} is none of {', '.join(SPLITS)}")
        if self.targets.max() >= 0 and len(set(self.paths)) != len(self.paths):
            raise DataError("a picture is listed twice", printable(_first_double(self.paths)))
        if self.weights is not None and not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            wrong = int(np.flatnonzero(~(self.weights >= 0) | ~np.isfinite(self.weights))[0])
            raise DataError(f"weight {self.weights[wrong]} must be finite and >= 0", printable(self.paths[wrong]))


def _whole(targets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    values = np.asarray(targets)
    if values.size and values.dtype.kind not in "iu":
        raise DataError(f"targets must be whole numbers, not {values.dtype}")
    return np.ascontiguousarray(values, dtype=np.int64)


def _first_double(names: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
