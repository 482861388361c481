"""Where a run is written."""

from __future__ import annotations

import re
from pathlib import Path

from clsfit.config import Config, Selection
from clsfit.data.split_by import is_file
from clsfit.errors import ConfigError, printable
from clsfit.storage.rundir import LOG, SPLIT


def default_name(config: Config, resume: bool) -> Path:
    """runs/<data>-<model>, with a number where that is taken; to resume, the last one that is taken."""
    if isinstance(config.data, Selection) and config.data_path is None:
        data = config.data.name
    else:
        place = Path(config.data_path or "data").resolve()
        data = place.stem if place.is_file() else place.name
    name = re.sub(r"[^\w.-]+", "-", f"{data}-{config.one('model').name}").strip("-.") or "run"
    path, number, last = Path("runs") / name, 2, None
    while path.exists():
        path, number, last = Path("runs") / f"{name}-{number}", number + 1, path
    return last if resume and last is not None else path


def keep_out_of_data(config: Config, output: Path) -> None:
    """Refuses a run directory in the data set, which clsfit never writes into, and a table among a run's files."""
    place = output.resolve()
    if config.settings.split_by is not None and is_file(config.settings.split_by):
        _keep_table(place, config.settings.split_by, "says its split")
    if config.data_path is None:
        return
    data = Path(config.data_path).resolve()
    if place.is_relative_to(data):
        raise ConfigError(
            "the run directory would lie in the data set, where its files would be taken for data",
            f"{printable(str(output))} is below {printable(config.data_path)}",
            "give an -o outside of it",
        )
    _keep_table(place, config.data_path, "names its pictures")


def _keep_table(place: Path, table: str, role: str) -> None:
    path = Path(table).resolve()
    if path.parent == place and path.name in {SPLIT, LOG}:
        raise ConfigError(
            f"the run would write over the table that {role}",
            f"{printable(table)} has the name of a run's file",
            "give another -o, or rename the table",
        )
