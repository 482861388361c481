"""Appends a line to the file that the environment variable TRACE names, when it is imported."""

import os
from pathlib import Path

from clsfit import Component, hookimpl

if trace := os.environ.get("TRACE"):
    with Path(trace).open("a") as file:
        file.write("imported\n")


@hookimpl
def clsfit_losses():
    yield Component("idle", "clsfit_bystander:nothing", "never used")
