"""What this distribution adds to clsfit; .csv is the core's, so of that ending nothing becomes."""

from dataclasses import dataclass
from typing import Annotated

from clsfit import Component, hookimpl


@dataclass
class Options:
    path: Annotated[str, "the file"]
    brighter: Annotated[int, "added to each pixel"] = 0


@hookimpl
def clsfit_datasets():
    yield Component("scans", "clsfit_scans.scans:Scans", "scans in one file", Options, endings=(".scans", ".csv"))
