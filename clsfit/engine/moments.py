"""Tells a run's callbacks of its moments, through a plugin manager of the run's own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import pluggy

from clsfit.errors import ClsfitError, PluginError
from clsfit.hookspecs import PROJECT, Moments

Teller = Callable[..., None]


class CallbackHooks:
    """The callbacks of one run, in the order of its configuration.

    Args:
        callbacks: object by name.

    Raises:
        PluginError: a callback implements a moment that does not exist, or with wrong arguments.
    """

    def __init__(self, callbacks: Mapping[str, Any]) -> None:
        self.callbacks = dict(callbacks)
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Moments)
        try:
            for name in reversed(list(callbacks)):  # pluggy calls the last registered first
                self._manager.register(callbacks[name], name=name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(
                "a callback does not fit the moments of a run",
                " ".join(str(error).split()),
                "see clsfit.hookspecs.Moments for their names and arguments",
            ) from error

    def teller(self, moment: str) -> Teller | None:
        """What tells ``moment`` to its listeners, or None if nobody listens: then it costs nothing."""
        caller = getattr(self._manager.hook, moment)
        implementations = caller.get_hookimpls()
        if not implementations:
            return None
        names: dict[CodeType, str] = {}
        for implementation in implementations:
            if code := getattr(implementation.function, "__code__", None):
                names[code] = implementation.plugin_name

        def tell(**arguments: Any) -> None:
            try:
                caller(**arguments)
            except ClsfitError:
                raise
            except Exception as error:
                frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
                culprit = next((names[code] for code in frames if code in names), "?")
                raise PluginError(
                    f"callback {culprit!r} failed in {moment}: {type(error).__name__}: {error}",
                    remedy="leave the callback out, or tell its authors (--debug shows the traceback)",
                ) from error

        return tell

    def tell_all(self, moment: str, **arguments: Any) -> list[str]:
        """Tells every listener, whatever another one does; returns one line per failure."""
        failures = []
        for name in self.callbacks:
            others = [plugin for other, plugin in self.callbacks.items() if other != name]
            try:
                self._manager.subset_hook_caller(moment, remove_plugins=others)(**arguments)
            except Exception as error:
                failures.append(f"callback {name!r} failed in {moment}: {type(error).__name__}: {error}")
        return failures
