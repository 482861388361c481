"""Which class and split a picture of a folder belongs to, by the names of the folders above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clsfit.data import class_names
from clsfit.data.walk import Walk
from clsfit.errors import DataError, printable

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of split folders, and the split they stand for."""


@dataclass(frozen=True)
class Layout:
    """A labelled folder.

    Attributes:
        pictures: (path, bytes, time in ns) by path.
        labels: each picture's class name.
        splits: each picture's split, or empty.
        classes: all class names, sorted by code point or as they were given.
        notes: one line each on what is not used.
    """

    pictures: list[tuple[str, int, int]]
    labels: list[str]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def arrange(root: str, found: Walk, known: Sequence[str] | None) -> Layout:
    """Labels and splits for what was found below ``root``.

    Args:
        root: for messages.
        found: no faults.
        known: class names in their order, where a model has fixed them.

    Raises:
        DataError: as :func:`clsfit.data.sources.folder`.
    """
    if not found.pictures:
        raise DataError("there are no pictures in the data", printable(root), "put a folder per class there")
    depth = 1 if _split_folders(root, found) else 0
    pictures, labels, splits = [], [], []
    for picture in found.pictures:
        parts = picture[0].split("/")
        if len(parts) > depth + 1:
            pictures.append(picture)
            labels.append(parts[depth])
            splits.append(SPLIT_FOLDERS[parts[0].lower()] if depth else "")
    if not pictures:
        raise DataError(
            "the pictures lie in no class folders", printable(root), "put each class's pictures in a folder of its name"
        )
    folders = _class_folders(found, depth)
    classes = tuple(known) if known is not None else _classes(root, found, folders, labels, splits)
    _check_known(root, labels, splits, classes, "the model" if known is not None else "training")
    present = set(zip(splits, labels, strict=True))
    notes = _notes(found, len(found.pictures) - len(pictures), folders, present)
    return Layout(pictures, labels, tuple(splits), classes, (*notes, *class_names.alike(classes)))


def _split_folders(root: str, found: Walk) -> bool:
    """Whether the first level are split folders: they have split names, and class folders below."""
    above = {path.split("/")[0] for path in found.folders if "/" in path}
    named = {name for name in above if name.lower() in SPLIT_FOLDERS}
    if not named:
        return False
    holding = {picture[0].split("/")[0] for picture in found.pictures if "/" in picture[0]}
    if beside := sorted(holding - named):
        raise DataError(
            "split folders and class folders lie beside each other",
            f"in {printable(root)}: {class_names.listed(sorted(named))} beside {class_names.listed(beside)}",
            "move the class folders into train, or choose other names",
        )
    meant = [SPLIT_FOLDERS[name.lower()] for name in named]
    if len(set(meant)) < len(meant):
        raise DataError(
            "two folders for one split", f"in {printable(root)}: {class_names.listed(sorted(named))}", "merge them"
        )
    return True


def _class_folders(found: Walk, depth: int) -> dict[str, set[str]]:
    """Split (or empty) -> names of its class folders, with pictures or without."""
    result: dict[str, set[str]] = {}
    for path in found.folders:
        parts = path.split("/")
        if len(parts) == depth + 1:
            split = SPLIT_FOLDERS.get(parts[0].lower(), "") if depth else ""
            result.setdefault(split, set()).add(parts[depth])
    return result


def _classes(
    root: str, found: Walk, folders: dict[str, set[str]], labels: Sequence[str], splits: Sequence[str]
) -> tuple[str, ...]:
    """The classes of the training folder, or of all where there is none."""
    decisive = "train" if "train" in splits else ("" if "" in splits else None)
    here = {label for label, split in zip(labels, splits, strict=True) if decisive is None or split == decisive}
    empty = sorted(folders.get(decisive, set()) - here) if decisive is not None else []
    if empty:
        raise DataError(
            f"{len(empty)} class {'folder is' if len(empty) == 1 else 'folders are'} empty",
            f"in {printable(root)}: {class_names.listed(empty)}",
            "put pictures there, or remove the folder",
        )
    if len(here) < 2:
        only = next(iter(here))
        inner = {path.split("/")[1] for path in found.folders if path.startswith(f"{only}/")}
        nested = decisive == "" and len(inner) > 1
        raise DataError(
            f"there is only one class: {printable(only)}",
            printable(root),
            f"did you mean {printable(root.rstrip('/'))}/{printable(only)}?" if nested else "add a folder per class",
        )
    return tuple(sorted(here))


def _check_known(root: str, labels: Sequence[str], splits: Sequence[str], classes: tuple[str, ...], who: str) -> None:
    present = set(zip(splits, labels, strict=True))
    if unknown := class_names.unknown(present, classes):
        where = sorted({split for split, label in present if label in unknown and split})
        raise class_names.refusal(
            unknown,
            who,
            f"in {printable(root)}" + (f": {' and '.join(where)}" if where else ""),
            classes,
            "rename or remove the folder",
        )


def _notes(found: Walk, stray: int, folders: dict[str, set[str]], present: set[tuple[str, str]]) -> tuple[str, ...]:
    notes = []
    if stray:
        notes.append(f"pictures outside class folders are not used: {stray}")
    if found.hidden:
        notes.append(f"hidden files and folders are not used: {class_names.listed(found.hidden)}")
    if found.others:
        notes.append(f"files without a picture's ending are not used: {found.others}")
    notes += class_names.lacking_by_split(present, set(folders) & {"val", "test"})
    return tuple(notes)
