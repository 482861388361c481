"""The data set that a configuration names, and what its options ask of it."""

from __future__ import annotations

from typing import Any

from clsfit.config import Selection, Settings
from clsfit.data.intake import Wishes, open_path
from clsfit.data.threads import workers_of
from clsfit.errors import ConfigError


def open_data(data: str | Selection | None) -> Any:
    """The data set that a configuration names: a folder, a table, or a plugin's data set.

    Raises:
        ConfigError: it names none.
        ClsfitError: the data set cannot be used.
    """
    if data is None:
        raise ConfigError("no data to train on", "argument DATA", "name a folder or a data set")
    if isinstance(data, Selection):
        from clsfit.factory import make

        return make(data, {})
    return open_path(data)


def wishes_of(settings: Settings) -> Wishes:
    """What the core's options ask of the data."""
    return Wishes(
        input_size=settings.input_size,
        channels=settings.channels,
        val_fraction=settings.val_fraction,
        seed=settings.seed,
        workers=workers_of(settings.workers),
        cache=settings.cache,
        skip_bad=settings.skip_bad,
        group=settings.group,
        group_regex=settings.group_regex,
    )
