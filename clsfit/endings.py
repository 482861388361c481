"""Which files are DATA, by their endings: the core's own, and how others are refused."""

from __future__ import annotations

from collections.abc import Iterable

from clsfit.errors import DataError, printable

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
"""Endings, in lower case, of the files that are taken for tables."""

_TARS = ("tgz", "tbz", "tbz2", "txz", "tlz", "tzst", "taz")
_COMPRESSED = tuple(f".tar.{how}" for how in ("gz", "bz2", "xz", "lzma", "lz", "lz4", "zst", "z", "br"))

ARCHIVES = (".zip", ".tar", *_COMPRESSED, *(f".{ending}" for ending in _TARS))
"""Endings, in lower case, of the files that are taken for archives; compressed tars among them are refused."""

OWN = (*TABLES, *ARCHIVES)
"""What no plugin opens in the core's place."""


def refusal(path: str, added: Iterable[str] = (), about: str = "") -> DataError:
    """The error for a file that nothing opens.

    Args:
        path: as given.
        added: endings that plugins add.
        about: what is wrong with plugins that might have opened it.
    """
    others = ", ".join(added)
    return DataError(
        "DATA is neither a folder nor an archive nor a table of pictures",
        printable(path) + (f"; {about}" if about else ""),
        "name a folder with a folder per class, one in a .zip or .tar, or a table that ends in "
        + ", ".join(TABLES)
        + (f"; plugins open {others} too" if others else "; other files need a plugin that opens them"),
    )
