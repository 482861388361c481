"""Parquet files as DATA: ``clsfit train photos.parquet``. Nothing here imports pyarrow; the target's module does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from clsfit import Component, hookimpl


@dataclass
class Options:
    """Where the pictures are."""

    path: Annotated[str, "the file; DATA that ends in .parquet or .pq is one by itself"]


@hookimpl
def clsfit_datasets() -> Iterator[Component]:
    """The one data set of this distribution."""
    yield Component(
        "parquet",
        "clsfit_parquet.source:parquet",
        "a Parquet file of labels with pictures, or with their paths",
        Options,
        endings=(".parquet", ".pq"),
    )
