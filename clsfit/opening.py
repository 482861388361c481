"""The data set that a configuration names, and what its options ask of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from clsfit import offered
from clsfit.config import Config, Selection, Settings
from clsfit.config.settings import COLUMNS
from clsfit.data import split_by
from clsfit.data.columns import GUESSED, Columns
from clsfit.data.intake import Intake, Wishes, open_path, refuse_columns, take_in
from clsfit.data.processes import Decoders
from clsfit.data.threads import workers_of
from clsfit.errors import ConfigError, printable

_SHOWN = 3


def open_data(data: str | Selection | None, columns: Columns = GUESSED) -> Any:
    """The data set that a configuration names: a folder, an archive, a table, or a plugin's data set.

    Args:
        data: as :class:`Config` has it.
        columns: names of a table's columns that are not guessed.

    Raises:
        ConfigError: it names none; a column is not there, or the data has no columns.
        ClsfitError: the data set cannot be used.
    """
    if data is None:
        raise ConfigError("no data to train on", "argument DATA", "name a folder, an archive, a table or a data set")
    if isinstance(data, Selection):
        return offered.open_offered(data, columns=columns)
    return open_path(data, columns=columns)


def columns_of(settings: Settings) -> Columns:
    """What the core's options say of a table's columns."""
    return split_by.columns_of(**{name: getattr(settings, name) for name in COLUMNS})


def check_columns(config: Config) -> None:
    """Refuses names of columns for data that has none; nothing of the data is read.

    Raises:
        ConfigError: an option names one.
        PluginError: the data set cannot be imported.
    """
    columns = columns_of(config.settings)
    if isinstance(config.data, Selection):
        offered.check_columns(config.data, columns)
    elif config.data is not None:
        refuse_columns(config.data, columns)


def anchored(config: Config) -> Config:
    """``config`` with absolute paths of DATA and of FILE in --split-by, so that a record says the same anywhere."""
    config, given = config.anchored_data(), config.settings.split_by
    if given is None or not split_by.is_file(given):
        return config
    return config.replace_settings(split_by=os.path.abspath(given))


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
        folds=settings.folds,
        fold=settings.fold,
        split_by=settings.split_by,
    )


def take_in_wanted(
    config: Config,
    recorded: Sequence[Mapping[str, str]] | None,
    *,
    accept_changes: bool,
    strict: bool,
    decoders: Decoders,
    say: Callable[[str], None],
) -> Intake:
    """Opens, reads and checks the data set of ``config``, and says what was found.

    Raises:
        PluginError: the code of a plugin's data set failed.
        ConfigError, DataError, ResourceError: as :func:`open_data` and :func:`clsfit.data.intake.take_in`.
    """
    settings, source = config.settings, open_data(config.data, columns_of(config.settings))
    for note in getattr(source, "notes", ()):
        say(f"note: {note}")
    try:
        intake = take_in(
            source,
            wishes_of(settings),
            recorded=recorded,
            accept_changes=accept_changes,
            strict=strict,
            decoders=decoders,
        )
    except Exception as error:
        if isinstance(config.data, Selection):  # its code is a stranger's, perhaps
            _blame(config.data, error)
        raise
    # a file that --print-config or a run has written holds every setting, so the default is no wish; and a run that
    # goes on has what its recipe said
    wished = "val_fraction" in config.explicit and settings.val_fraction != Settings().val_fraction
    if wished and recorded is None and (intake.own_val or settings.folds):
        own = "DATA has validation pictures of its own"
        if settings.split_by not in {None, split_by.RATIO}:
            own = f"--split-by {printable(str(settings.split_by))} says which pictures are for validation"
        why = "--folds holds out a part for each fold" if settings.folds else own
        raise ConfigError(
            f"--val-fraction has no effect: {why}",
            "option --val-fraction",
            "leave it out",
        )
    if intake.left_out:
        more = " ..." if len(intake.left_out) > _SHOWN else ""
        say(f"left out {len(intake.left_out)} unreadable pictures: {', '.join(intake.left_out[:_SHOWN])}{more}")
    for note in intake.notes:
        say(note)
    return intake


def _blame(data: Selection, error: Exception) -> NoReturn:
    from clsfit.engine.blame import raise_blamed
    from clsfit.provenance import packages

    raise_blamed(error, packages([data.offer]))
