"""Loading one plugin: its entry point, its hook module, its offers.

Every plugin has a plugin manager of its own: one that cannot be imported, calls ``sys.exit``, misspells
a hook or raises in one is marked as failed, and disturbs no other. Nothing here imports what an
offer's target names; :meth:`Offer.load` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Literal

import pluggy

from clsfit.errors import InterruptedRunError, PluginError, printable
from clsfit.hookspecs import OFFERS, PROJECT, Component, Moments, Offers
from clsfit.shortage import shortage

REPEATABLE = ("metric", "callback", "augment")
"""Kinds of which a run may select several; their names stand between dots, so they have none."""

_ENDING = re.compile(r"\.[a-z0-9]+([._-][a-z0-9]+)*")


def nearest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` with the closest of ``known``, or an empty string if none is close."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"Did you mean {printable(by_lower[close[0]])!r}?" if close else ""


def one_line(error: BaseException) -> str:
    """What went wrong, as one printable line that names the exception's type."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    text = " ".join(str(error).split())
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A component together with who offers it.

    Attributes:
        kind: ``"loss"``, ``"metric"``, ...: a key of :data:`clsfit.hookspecs.OFFERS`.
        component: what the plugin said.
        plugin: the entry point's name.
        distribution: the name by which pip knows it.
        version: of the distribution.
        shadowed: whether a bundled component has this kind and name, so that only
            ``distribution:name`` reaches this one.
    """

    kind: str
    component: Component
    plugin: str
    distribution: str
    version: str
    shadowed: bool = False

    @property
    def name(self) -> str:
        """The component's own name, without a provider."""
        return self.component.name

    @property
    def qualified(self) -> str:
        """``distribution:name``, which always means this offer."""
        return f"{self.distribution}:{self.name}"

    @property
    def provider(self) -> str:
        """Distribution and version, for messages."""
        return printable(f"{self.distribution} {self.version}".rstrip())

    def load(self) -> Callable[..., Any]:
        """The factory that the target names; its module is imported here.

        Raises:
            PluginError: importing fails in any way, or the target is not there or not callable.
        """
        module, _, attribute = self.component.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if scarce := shortage(error):
                raise scarce from error
            raise self._broken(one_line(error)) from error
        if not callable(found):
            raise self._broken(f"it is a {type(found).__name__}, not callable")
        return found  # type: ignore[no-any-return]

    def resource(self) -> str:
        """The text of the file that a recipe's target names.

        Raises:
            PluginError: the package or the file is not there, or is not UTF-8.
        """
        from importlib.resources import files

        package, _, path = self.component.target.partition(":")
        try:
            return files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._broken(one_line(error)) from error

    def _broken(self, reason: str) -> PluginError:
        return PluginError(
            f"{self.kind} {self.name!r} cannot be loaded: {reason}",
            f"target {printable(self.component.target)} of plugin {self.provider}",
            f"update or reinstall {self.distribution}, or choose another {self.kind}",
        )


@dataclass(slots=True)
class Plugin:
    """One entry point and what became of it.

    Attributes:
        name: the entry point's name.
        distribution: who installed it.
        version: of the distribution.
        status: ``"ok"``, ``"disabled"`` (never imported) or ``"failed"``.
        error: one line, empty unless failed.
        offers: what it offers, empty unless ok.
    """

    name: str
    distribution: str
    version: str
    status: Literal["ok", "disabled", "failed"] = "ok"
    error: str = ""
    offers: tuple[Offer, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is this entry point's or its distribution's."""
        return name == self.name or _normal(name) == _normal(self.distribution)

    def __str__(self) -> str:
        return printable(f"{self.name} ({self.distribution} {self.version}".rstrip() + ")")


def _normal(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def describe(point: EntryPoint) -> Plugin:
    """An entry point's names, from its metadata alone."""
    metadata = point.dist.metadata if point.dist is not None else None
    name = metadata["Name"] if metadata is not None else None
    version = metadata["Version"] if metadata is not None else None
    return Plugin(point.name, name or point.name, version or "")


def load(plugin: Plugin, point: EntryPoint) -> None:
    """Imports one plugin and asks it for its offers; any failure is written into ``plugin``."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's data
            plugin.offers = tuple(_offers(plugin, point.load()))
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted while plugin {printable(plugin.name)!r} was imported",
            printable(f"of {plugin.distribution} {plugin.version}".rstrip()),
            f"where it hangs, leave it out: --disable-plugin {printable(plugin.name)}",
        ) from None
    except _IllFormed as error:
        plugin.status, plugin.error = "failed", printable(str(error))
    except BaseException as error:  # also SystemExit, which a broken native library may raise
        plugin.status, plugin.error = "failed", one_line(error)


class _IllFormed(Exception):
    """A plugin that can be imported but breaks a rule; its text says which."""


def _offers(plugin: Plugin, module: object) -> Iterator[Offer]:
    """Registers ``module`` with a manager of its own and calls each of its hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Offers)
    manager.register(module, plugin.name)
    for caller in manager.get_hookcallers(module) or ():
        if not caller.has_spec() and not all(implementation.optionalhook for implementation in caller.get_hookimpls()):
            if hasattr(Moments, caller.name):
                raise _IllFormed(f"{caller.name} belongs into a callback, not into the hook module")
            hint = nearest(caller.name, OFFERS.values()).lower()
            raise _IllFormed(f"misspelt hook {caller.name}" + (f"; {hint}" if hint else ""))
    for kind, hook in OFFERS.items():
        if hasattr(module, hook) and manager.parse_hookimpl_opts(module, hook) is None:
            raise _IllFormed(f"{hook} lacks @hookimpl")
        seen = set()
        for component in _components(hook, getattr(manager.hook, hook)()):
            _check(kind, component)
            if component.name in seen:
                raise _IllFormed(f"{hook} offers {component.name!r} twice")
            seen.add(component.name)
            yield Offer(kind, component, plugin.name, plugin.distribution, plugin.version)


def _components(hook: str, results: Iterable[Any]) -> Iterator[Component]:
    for result in results:
        if isinstance(result, Component) or not isinstance(result, Iterable):
            raise _IllFormed(f"{hook} must yield components, it returned a {type(result).__name__}")
        for component in result:
            if not isinstance(component, Component):
                raise _IllFormed(f"{hook} must yield components, it yielded a {type(component).__name__}")
            yield component


def _check(kind: str, component: Component) -> None:
    """Refuses a component that could not be named or called.

    Raises:
        _IllFormed: saying what is wrong.
    """
    name, label = component.name, f"{kind} {component.name!r}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", name):
        raise _IllFormed(f"{label}: a name consists of letters, digits, _ - . /")
    if name.lower() in {"none", "null", "name"} or (kind in REPEATABLE and "." in name):
        raise _IllFormed(f"{label}: this name cannot be written in a configuration")
    pattern = r"[\w.]+:[^:\\]+" if kind == "recipe" else r"[\w.]+:[\w.]+"
    if not isinstance(component.target, str) or not re.fullmatch(pattern, component.target):
        raise _IllFormed(f"{label}: the target is 'package.module:name', not {component.target!r}")
    if not isinstance(component.help, str):
        raise _IllFormed(f"{label}: help is a text, not {component.help!r}")
    _check_endings(kind, component, label)
    if component.params is None:
        return
    if kind == "recipe" or not (isinstance(component.params, type) and dataclasses.is_dataclass(component.params)):
        raise _IllFormed(f"{label}: params must be a dataclass (none for a recipe)")
    if "name" in {field.name for field in dataclasses.fields(component.params)}:
        raise _IllFormed(f"{label}: a parameter cannot be called 'name'")


def _check_endings(kind: str, component: Component, label: str) -> None:
    """Refuses endings of files that could not be asked for."""
    endings = component.endings
    if not isinstance(endings, tuple) or not all(isinstance(e, str) and _ENDING.fullmatch(e) for e in endings):
        raise _IllFormed(f"{label}: endings are a tuple of texts like '.csv', in lower case, not {endings!r}")
    if endings and kind != "dataset":
        raise _IllFormed(f"{label}: only a data set has endings")
    params = component.params
    if endings and dataclasses.is_dataclass(params) and "path" not in {f.name for f in dataclasses.fields(params)}:
        raise _IllFormed(f"{label}: a data set with endings has an option 'path'")
