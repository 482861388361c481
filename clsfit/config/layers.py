"""The sources of a configuration, each as one :class:`Layer` of the same shape.

Lowest first: recipe ``default``, ``--recipe``, ``-c`` files in order, environment, ``--set``, options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsfit.config.settings import ALIASES, NAMES, option_name
from clsfit.config.values import Value, wrap
from clsfit.errors import ConfigError, printable
from clsfit.parameters import Text, match, shown
from clsfit.registry import REPEATABLE, Offer, Plugins, nearest

SINGLE = ("data", "model", "loss", "optimizer", "scheduler", "sampler")
SLOTS = ("data", "model", "loss", "optimizer", "scheduler", "metric", "callback", "sampler", "augment")
"""Where components go, in the order of the command line; all but data are named after their kind."""

RESERVED = frozenset({"CLSFIT_CACHE", "CLSFIT_FAILPOINT", "CLSFIT_DEBUG"})
"""Environment variables that are read elsewhere."""

OPTIONS_ONLY = (
    "recipe",
    "config",
    "output",
    "resume",
    "overwrite",
    "accept_changes",
    "dry_run",
    "strict",
    "quiet",
    "verbose",
)
"""What a command is asked for, not what a run is: options that no file and no variable can set."""


def kind_of(slot: str) -> str:
    """The kind of component that a slot holds."""
    return "dataset" if slot == "data" else slot


@dataclass(slots=True)
class Pick:
    """What one layer says of a slot, or of one component of a repeatable slot.

    Attributes:
        name: the component's; None where only parameters are given.
        where: for messages.
        params: as written.
        plain: whether the name stands alone, so that for ``data`` it may be a path.
        opener: for ``data``: who opens the file of that name, once it is known.
    """

    name: str | None
    where: str
    params: dict[str, Value] = field(default_factory=dict)
    plain: bool = False
    opener: Offer | None = None


@dataclass(slots=True)
class Layer:
    """One source of the configuration.

    Attributes:
        source: its name, for notes.
        is_recipe: whether it is a recipe's, not the user's own.
        settings: core options by field name.
        picks: for each slot, in the order written (at most one for a single slot).
        any_case: whether capital letters make no difference in parameter names.
    """

    source: str
    is_recipe: bool = False
    settings: dict[str, Value] = field(default_factory=dict)
    picks: dict[str, list[Pick]] = field(default_factory=dict)
    any_case: bool = False


def read_layer(tree: Value, source: str, *, is_recipe: bool = False, any_case: bool = False) -> Layer:
    """Sorts a tree's keys into settings and slots.

    Raises:
        ConfigError: an unknown key, or a value of a shape that its slot does not take.
    """
    if not isinstance(tree.raw, dict):
        raise ConfigError("a configuration is a mapping of keys to values", tree.where)
    layer = Layer(source, is_recipe, any_case=any_case)
    for key, value in tree.raw.items():
        name = known_key(key, value.where)
        if name in layer.settings or name in layer.picks:
            raise ConfigError(f"key {printable(key)!r} is given twice", value.where)
        if name in NAMES:
            layer.settings[name] = value
        elif name in SINGLE:
            layer.picks[name] = [_single(name, value)]
        else:
            layer.picks[name] = list(_several(name, value))
    return layer


def known_key(key: str, where: str) -> str:
    """The setting or slot that a top-level key means.

    Raises:
        ConfigError: there is none.
    """
    known = [*SLOTS, *NAMES, *ALIASES]
    name = match(key, known)
    if name is not None:
        return ALIASES.get(name, name)
    option = match(key, OPTIONS_ONLY)
    hint = f"it is set by the option {option_name(option)} only" if option else nearest(key, known)
    raise ConfigError(f"unknown key {printable(key)!r}", where, hint or "see: clsfit config schema")


def _single(slot: str, value: Value) -> Pick:
    if isinstance(value.raw, str):
        return Pick(_name(slot, value), value.where, plain=True)
    if isinstance(value.raw, dict):
        return _entry(slot, value)
    if value.raw is None:
        raise ConfigError(f"{slot} is empty", value.where, f"name a {kind_of(slot)}, or leave the key out")
    hint = f"{slot} holds one {kind_of(slot)}" if isinstance(value.raw, list) else "quote it, if it is one"
    raise ConfigError(f"{slot} needs a name, not {printable(shown(value.plain()))}", value.where, hint)


def _several(slot: str, value: Value) -> Iterator[Pick]:
    """The entries of ``f1``, ``[f1, {name: top_k, k: 5}]``, ``{name: f1}`` or ``{f1: {average: macro}}``."""
    if isinstance(value.raw, list):
        for item in value.raw:
            yield from _several(slot, item)
    elif isinstance(value.raw, str):
        yield Pick(_name(slot, value), value.where)
    elif isinstance(value.raw, dict) and "name" in value.raw:
        yield _entry(slot, value)
    elif isinstance(value.raw, dict):
        for name, params in value.raw.items():
            if params.raw is not None and not isinstance(params.raw, dict):
                raise ConfigError(f"{slot}.{printable(name)} needs parameters with values", params.where)
            yield Pick(name, params.where, dict(params.raw or {}))
    else:
        raise ConfigError(f"{slot} needs names", value.where, f"write {slot}: none to select no {slot}")


def _entry(slot: str, value: Value) -> Pick:
    params = dict(value.raw)
    name = params.pop("name", None)
    if name is None:
        return Pick(None, value.where, params)
    if not isinstance(name.raw, str):
        raise ConfigError(f"{slot}: the name is a text, not {printable(shown(name.plain()))}", name.where, "quote it")
    return Pick(_name(slot, name), value.where, params)


def _name(slot: str, value: Value) -> str:
    name = str(value.raw)
    if not name or (slot in SINGLE and name.lower() == "none"):
        raise ConfigError(f"{slot} cannot be {name or 'empty'}", value.where, f"name a {kind_of(slot)}")
    return name


def set_layer(item: str) -> Layer:
    """The layer of one ``--set KEY=VALUE``; the value is read as YAML.

    Raises:
        ConfigError: there is no ``=``, or the key is unknown.
    """
    key, equals, text = item.partition("=")
    where = f"--set {printable(key)}"
    if not equals or not key.strip():
        raise ConfigError(f"--set takes KEY=VALUE, not {printable(item)!r}", "", "for example: --set loss.gamma=3")
    head, *rest = key.strip().split(".")
    return read_layer(_nested(known_key(head, where), rest, text, where), "--set")


def _nested(head: str, rest: list[str], text: str, where: str) -> Value:
    """A typed text below the path of a dotted key."""
    from clsfit.config import yaml

    meaning = yaml.parse_value(text)
    typed = Text(meaning if isinstance(meaning, str) else text, meaning)  # quotes are taken off
    if rest and head in NAMES:
        raise ConfigError(f"{head} has no parameters", where)
    if head in REPEATABLE and len(rest) > 1:  # a provider's name may hold dots
        return wrap({head: {".".join(rest[:-1]): {rest[-1]: typed}}}, where)
    if rest and head in SINGLE:
        return wrap({head: {".".join(rest): typed}}, where)
    whole: Any = meaning if isinstance(meaning, dict | list) else typed
    if rest:
        return wrap({head: {rest[0]: None if meaning is None or not text else whole}}, where)
    if head in REPEATABLE and isinstance(meaning, str) and "," in meaning:
        whole = [name.strip() for name in meaning.split(",")]
    return wrap({head: whole}, where)


def environment_layers(environ: Mapping[str, str], plugins: Plugins | None) -> list[Layer]:
    """One layer for each variable ``CLSFIT_KEY`` or ``CLSFIT_SLOT__PARAM``, sorted by name.

    Args:
        environ: the environment; empty variables count as not set.
        plugins: whose names a variable may spell; None: only settings are wanted.

    Raises:
        ConfigError: a variable means nothing.
    """
    layers = []
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith("CLSFIT_") or variable in RESERVED or not text:
            continue
        head, *rest = variable.removeprefix("CLSFIT_").lower().split("__")
        key = match(head, [*SLOTS, *NAMES, *ALIASES])
        if key is None:
            known = [f"CLSFIT_{name.upper()}" for name in (*SLOTS, *NAMES)] + sorted(RESERVED)
            option = match(head, OPTIONS_ONLY)
            hint = f"it is set by the option {option_name(option)} only" if option else nearest(variable, known)
            raise ConfigError(f"unknown environment variable {printable(variable)}", "", hint or f"unset {variable}")
        key = ALIASES.get(key, key)
        if key in REPEATABLE and rest and plugins is not None:
            at = max(len(rest) - 1, 1)  # the last part is the parameter
            rest = [_spelled("__".join(rest[:at]), plugins, key), *rest[at:]]
        layers.append(read_layer(_nested(key, rest, text, variable), "environment", any_case=True))
    return layers


def _spelled(word: str, plugins: Plugins, kind: str) -> str:
    """The component whose name a variable spells in lower case with ``_`` for everything else."""
    offers = plugins.offers(kind)
    for name in [offer.name for offer in offers] + [offer.qualified for offer in offers]:
        if re.sub(r"[^a-z0-9]", "_", name.lower()) == word:
            return name
    return word


def option_layer(options: Mapping[str, Any]) -> Layer:
    """The layer of the command line's options, given as a tree of typed values or texts.

    Raises:
        ConfigError: an unknown key.
    """
    tree = {
        key: _option(value, "argument DATA" if key == "data" else f"option {_flag(key)}")
        for key, value in options.items()
    }
    return read_layer(Value(tree, "options"), "options")


def _option(value: Any, where: str) -> Value:
    from clsfit.config import yaml

    if isinstance(value, Mapping):
        below = {key: _option(v, where if key == "name" else f"{where}.{key}") for key, v in value.items()}
        return Value(below, where)
    if isinstance(value, list | tuple):
        return Value([_option(v, where) for v in value], where)
    return Value(Text(value, yaml.parse_value(value)) if isinstance(value, str) else value, where)


def _flag(key: str) -> str:
    name = match(key, [*NAMES, *ALIASES]) or key
    return option_name(ALIASES.get(name, name)) if name in (*NAMES, *ALIASES) else f"--{key}"


def file_layers(files: Iterable[Path]) -> list[Layer]:
    """One layer for each ``-c`` file.

    Raises:
        ConfigError: with file and line.
    """
    return [_file_layer(Path(path)) for path in files]


def _file_layer(path: Path) -> Layer:
    from clsfit.config import yaml

    return read_layer(yaml.read_file(path), str(path))
