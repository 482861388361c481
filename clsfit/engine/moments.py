"""Tells a run's callbacks of its moments, through a plugin manager of the run's own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
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
        """What tells ``moment`` to its listeners, or None if nobody listens: then it costs nothing.

        The listeners are called directly, in pluggy's order: through pluggy a call takes more than twice as
        long, and a small model has thousands of steps in a second. Where one of them is a wrapper, pluggy
        calls them all.
        """
        caller = getattr(self._manager.hook, moment)
        implementations = caller.get_hookimpls()[::-1]  # pluggy calls the last one first
        if not implementations:
            return None
        if any(each.wrapper or each.hookwrapper for each in implementations):
            return _wrapped(moment, caller, implementations)

        everything = set(caller.spec.argnames)
        calls = [
            (each.function if everything == set(each.argnames) else _taking(each), each.plugin_name)
            for each in implementations
        ]

        def tell(**arguments: Any) -> None:
            try:
                for call, listener in calls:  # noqa: B007 - an error names it
                    call(**arguments)
            except ClsfitError:
                raise
            except Exception as error:
                raise _failure(moment, listener, error) from error

        return tell

    def listeners(self, moment: str) -> list[str]:
        """The names of the callbacks that are told of ``moment``."""
        return [each.plugin_name for each in getattr(self._manager.hook, moment).get_hookimpls()]

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


def _taking(implementation: pluggy.HookImpl) -> Callable[..., Any]:
    """The implementation's function, for all arguments of its moment, of which it names some."""
    function, names = implementation.function, implementation.argnames
    return lambda **arguments: function(*map(arguments.__getitem__, names))


def _wrapped(moment: str, caller: Teller, implementations: list[pluggy.HookImpl]) -> Teller:
    names = {getattr(each.function, "__code__", None): each.plugin_name for each in implementations}

    def tell(**arguments: Any) -> None:
        try:
            caller(**arguments)
        except ClsfitError:
            raise
        except Exception as error:
            called = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
            inmost = next((names[code] for code in reversed(called) if code in names), "?")
            raise _failure(moment, inmost, error) from error

    return tell


def _failure(moment: str, name: str, error: Exception) -> PluginError:
    return PluginError(
        f"callback {name!r} failed in {moment}: {type(error).__name__}: {error}",
        remedy="leave the callback out, or tell its authors (--debug shows the traceback)",
    )
