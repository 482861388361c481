"""The first look at the arguments of ``train`` and ``bench``: which plugins, which components.

Typer wants to know every option before it parses; which options there are depends on the components
that files, environment and the arguments themselves select. So they are read in two passes, and this is
the first.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from clsfit.cli.options import text_of
from clsfit.config import layers
from clsfit.config.layers import SLOTS, Layer, kind_of
from clsfit.config.merge import merge
from clsfit.config.resolve import Switches, recipe_layer, switches
from clsfit.errors import ClsfitError
from clsfit.parameters import match
from clsfit.registry import REPEATABLE, Offer, Plugins

P = ParamSpec("P")
T = TypeVar("T")

_SHORT = {"-c": "--config", "-o": "--output"}
_WANTED = frozenset({"--config", "--output", "--recipe", "--set", "--disable-plugin", *(f"--{slot}" for slot in SLOTS)})


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selected component.

    Attributes:
        name: by which it was selected.
        given: its parameters that recipes, files, environment or ``--set`` set, as texts.
    """

    offer: Offer
    name: str
    given: Mapping[str, str]


class Scan:
    """What the arguments say of plugins and components.

    Args:
        arguments: those after the command's name.
        tolerant: whether to skip what is wrong, for help and completion, instead of raising.

    Attributes:
        settings: core options that recipes, files, environment or ``--set`` set, as texts; known after
            :meth:`select`.
    """

    def __init__(self, arguments: Sequence[str], *, tolerant: bool) -> None:
        self.tolerant = tolerant
        self.values: dict[str, list[str]] = defaultdict(list)
        self.words: list[str] = []
        self.dotted: dict[str, list[str]] = defaultdict(list)
        self.settings: dict[str, str] = {}
        self.no_plugins = False
        self.resume = False
        rest = iter(arguments[: arguments.index("--")] if "--" in arguments else arguments)
        for argument in rest:
            self._take(argument, rest)

    def _take(self, argument: str, rest: Iterator[str]) -> None:
        name, equals, value = argument.partition("=")
        if argument[:2] in _SHORT and len(argument) > 2:
            name, equals, value = argument[:2], "=", argument[2:]
        name = _SHORT.get(name, name.replace("_", "-"))
        slot, dot, below = argument.partition("=")[0].removeprefix("--").removeprefix("no-").partition(".")
        if name == "--no-plugins":
            self.no_plugins = True
        elif name == "--resume":
            self.resume = True
        elif name in _WANTED:
            text = value if equals else next(rest, None)
            if text is not None:
                self.values[name].append(text)
        elif dot and argument.startswith("--") and slot in REPEATABLE and "." in below:
            self.dotted[slot].append(below.rpartition(".")[0])
        elif not argument.startswith("-"):
            self.words.append(argument)

    def discover(self) -> Plugins:
        """The plugins that the switches in files, environment and arguments leave on.

        Raises:
            ConfigError: a switch names no plugin, or a file cannot be read; not if tolerant.
        """
        own: dict[str, Any] = (
            {"disable_plugins": self.values["--disable-plugin"]} if self.values["--disable-plugin"] else {}
        )
        own |= {"no_plugins": True} if self.no_plugins else {}
        files = [Path(path) for path in self.values["--config"]]
        found = self.attempt(lambda: switches(files=files, sets=self.values["--set"], options=own)) or Switches()
        plugins = self.attempt(
            lambda: Plugins.discover(
                disable=found.disable, may_be_absent=found.standing, bundled_only=found.bundled_only
            )
        )
        return plugins if plugins is not None else Plugins.discover(bundled_only=found.bundled_only)

    def check_resumed(self, plugins: Plugins) -> None:
        """Refuses to go on with a run whose plugins are missing; to be asked before names are looked up.

        Raises:
            ClsfitError: a plugin that the run records is missing, or the record is damaged; not if tolerant.
        """
        if self.resume and self.values["--output"]:
            from clsfit.resume import check_plugins

            self.attempt(check_plugins, plugins, Path(self.values["--output"][-1]))

    def select(self, plugins: Plugins) -> list[Chosen]:
        """The components that the run will have, in the order of the slots.

        Raises:
            ClsfitError: a name that nothing offers, or a file that cannot be read; not if tolerant.
        """
        draft = self.attempt(lambda: merge(list(self._layers(plugins)), plugins))
        if draft is None:
            return []
        self.settings = {name: text_of(value.plain()) for name, value in draft.settings.items()}
        chosen = []
        for slot, choices in draft.choices.items():
            for choice in choices:
                if slot == "data" and not isinstance(choice.holder, Offer):  # a path
                    continue
                offer = self.attempt(choice.offer, kind_of(slot), plugins)
                if offer is not None:
                    given = {a.key.replace("-", "_"): text_of(a.value.plain()) for a in choice.assignments}
                    chosen.append(Chosen(offer, self._written(plugins, slot, offer), given))
        return chosen

    def _written(self, plugins: Plugins, slot: str, offer: Offer) -> str:
        """How the arguments name a component in front of its parameters; else its short name."""
        for name in (_spelled(plugins, slot, name) for name in self.dotted[slot]):
            if self.attempt(plugins.find, slot, name) == offer:
                return name
        return plugins.short_name(offer)

    def _layers(self, plugins: Plugins) -> Iterator[Layer]:
        for name in ["default", *self.values["--recipe"][-1:]]:
            layer = self.attempt(recipe_layer, plugins, name)
            if layer is not None:
                yield layer
        yield from self._own_layers(plugins)
        yield from self._option_layers(plugins)

    def _own_layers(self, plugins: Plugins | None) -> Iterator[Layer]:
        """Files, environment and ``--set``."""
        for path in self.values["--config"]:
            yield from self.attempt(layers.file_layers, [Path(path)]) or ()
        yield from self.attempt(layers.environment_layers, os.environ, plugins) or ()
        for text in self.values["--set"]:
            layer = self.attempt(layers.set_layer, text)
            if layer is not None:
                yield layer

    def _option_layers(self, plugins: Plugins) -> Iterator[Layer]:
        tree: dict[str, Any] = {}
        for slot in SLOTS:
            names = self.values[f"--{slot}"] + [_spelled(plugins, slot, name) for name in self.dotted[slot]]
            if slot == "data":
                known = plugins.names("dataset")
                names = [w for w in self.words if w in known or self.attempt(plugins.opener, w) is not None]
            if names:
                tree[slot] = names if slot in REPEATABLE else names[-1]
        layer = self.attempt(layers.option_layer, tree)
        if layer is not None:
            yield layer

    def attempt(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What ``action`` returns; None if it fails and the scan is tolerant."""
        try:
            return action(*args, **kwargs)
        except ClsfitError:
            if not self.tolerant:
                raise
            return None


def _spelled(plugins: Plugins, kind: str, name: str) -> str:
    """A component's own spelling of ``name``, in which ``-`` may stand for ``_``."""
    provider, colon, bare = name.rpartition(":")
    return provider + colon + (match(bare, [offer.name for offer in plugins.offers(kind)]) or bare)
