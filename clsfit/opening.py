"""The data set that a configuration names, and what its options ask of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from clsfit.config import Config, Selection, Settings, switches
from clsfit.data.columns import GUESSED
from clsfit.data.intake import Intake, Wishes, open_path, take_in
from clsfit.data.processes import Decoders
from clsfit.data.threads import workers_of
from clsfit.endings import OWN
from clsfit.errors import ConfigError
from clsfit.making import make
from clsfit.parameters import validate
from clsfit.registry import Plugins


def open_data(data: str | Selection | None) -> Any:
    """The data set that a configuration names: a folder, an archive, a table, or a plugin's data set.

    Raises:
        ConfigError: it names none.
        ClsfitError: the data set cannot be used.
    """
    if data is None:
        raise ConfigError("no data to train on", "argument DATA", "name a folder, an archive, a table or a data set")
    return make(data, filled()) if isinstance(data, Selection) else open_path(data)


def open_named(data: str, plugins: Plugins, classes: Sequence[str] | None = None) -> Any:
    """The data set that DATA names: what is at that path, or a data set of that name.

    Args:
        data: a path or a name.
        plugins: among which a file's ending and a name are looked up.
        classes: names in their order, as a model knows them.

    Raises:
        ClsfitError: there is none, or it cannot be used.
    """
    if not os.path.exists(data):
        return make(Selection(data, {}, plugins.find("dataset", data)), filled(classes))
    if (opener := plugins.opener(data)) is not None:
        chosen = Selection(plugins.short_name(opener), validate(opener, {"path": data}, "--data"), opener)
        return make(chosen, filled(classes))
    if is_unknown(data):
        raise plugins.refusal(data)
    return open_path(data, classes)


def installed() -> Plugins:
    """All plugins that are installed, but those that the environment switches off."""
    off = switches()
    return Plugins.discover(disable=off.disable, may_be_absent=off.standing, bundled_only=off.bundled_only)


def is_unknown(data: str) -> bool:
    """Whether DATA is a file that only a plugin could open."""
    return os.path.isfile(data) and not data.lower().endswith(OWN)


def filled(classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What the core fills into a data set's factory."""
    return {"columns": GUESSED, "class_names": None if classes is None else tuple(classes)}


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
    settings, source = config.settings, open_data(config.data)
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
        why = "--folds holds out a part for each fold" if settings.folds else "DATA has validation pictures of its own"
        raise ConfigError(
            f"--val-fraction has no effect: {why}",
            "option --val-fraction",
            "leave it out",
        )
    if intake.left_out:
        say(f"left out {len(intake.left_out)} unreadable pictures: {', '.join(intake.left_out[:3])} …")
    for note in intake.notes:
        say(note)
    return intake


def _blame(data: Selection, error: Exception) -> NoReturn:
    from clsfit.engine.blame import raise_blamed
    from clsfit.provenance import packages

    raise_blamed(error, packages([data.offer]))
