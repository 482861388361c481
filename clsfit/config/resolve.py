"""From the layers to a checked :class:`Config`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsfit.config.checks import check_monitors
from clsfit.config.layers import (
    SINGLE,
    SLOTS,
    Layer,
    environment_layers,
    file_layers,
    kind_of,
    option_layer,
    read_layer,
    set_layer,
)
from clsfit.config.merge import Choice, Draft, data_path, inert_path_parameters, merge, values_for
from clsfit.config.settings import Settings, read_setting
from clsfit.config.tree import Config, Selection
from clsfit.errors import ConfigError
from clsfit.parameters import validate
from clsfit.registry import Offer, Plugins

DEFAULT_RECIPE = "default"


@dataclass(frozen=True, slots=True)
class Switches:
    """Which plugins a configuration switches off; needed before plugins are looked for.

    Attributes:
        disable: names of entry points or distributions.
        standing: those of them that files and the environment name, not this command.
        bundled_only: ``--no-plugins``.
    """

    disable: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    bundled_only: bool = False


def switches(
    *,
    files: Iterable[Path] = (),
    environ: Mapping[str, str] = os.environ,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Switches:
    """Reads the off-switches for plugins from every layer but recipes.

    Raises:
        ConfigError: a layer cannot be read.
    """
    standing = [*file_layers(files), *environment_layers(environ, None)]
    layers = [*standing, *map(set_layer, sets), option_layer(options or {})]
    disabled: list[str] = []
    found: list[str] = []
    bundled_only = False
    for position, layer in enumerate(layers):
        if "disable_plugins" in layer.settings:
            value = layer.settings["disable_plugins"]
            names = read_setting("disable_plugins", value.plain(), value.where)
            disabled += names
            found += names if position < len(standing) else []
        if "no_plugins" in layer.settings:
            value = layer.settings["no_plugins"]
            bundled_only = read_setting("no_plugins", value.plain(), value.where)
    return Switches(tuple(dict.fromkeys(disabled)), tuple(dict.fromkeys(found)), bundled_only)


def resolve(
    plugins: Plugins,
    *,
    recipe: str | None = None,
    files: Iterable[Path] = (),
    environ: Mapping[str, str] = os.environ,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of a run, complete and checked.

    Args:
        plugins: who offers components and recipes.
        recipe: one to lay on top of the recipe ``default``.
        files: ``-c`` files, lowest first.
        environ: variables ``CLSFIT_EPOCHS``, ``CLSFIT_LOSS__GAMMA``.
        sets: ``KEY=VALUE`` texts.
        options: what the command line gives: a tree like the YAML one; texts are parsed by type.

    Raises:
        ConfigError: anything unknown, ill-typed, or without effect.
        DataError: DATA is neither a path nor a data set.
        PluginError: a plugin that the configuration needs is broken or not there.
    """
    draft = merge(_layers(plugins, recipe, files, environ, sets, options), plugins)
    settings = Settings(**{name: read_setting(name, v.plain(), v.where) for name, v in draft.settings.items()})
    path = data_path(draft.choices["data"][0], plugins) if draft.choices["data"] else None
    if path is not None:
        inert_path_parameters(draft.choices["data"][0], path)
        draft.choices["data"] = []
    components = _selections(draft, plugins)
    datasets = components.pop("data")
    config = Config(
        settings,
        path if path is not None else (datasets[0] if datasets else None),
        components,
        frozenset(draft.explicit),
        recipe or DEFAULT_RECIPE,
        tuple(draft.notes),
    )
    check_monitors(config)
    return config


def _layers(
    plugins: Plugins,
    recipe: str | None,
    files: Iterable[Path],
    environ: Mapping[str, str],
    sets: Iterable[str],
    options: Mapping[str, Any] | None,
) -> list[Layer]:
    layers = [recipe_layer(plugins, DEFAULT_RECIPE)]
    if recipe is not None and recipe != DEFAULT_RECIPE:
        layers.append(recipe_layer(plugins, recipe))
    layers += file_layers(files)
    layers += environment_layers(environ, plugins)
    layers += [set_layer(item) for item in sets]
    return [*layers, option_layer(options or {})]


def recipe_layer(plugins: Plugins, name: str) -> Layer:
    """What a recipe sets.

    Raises:
        ConfigError: nothing offers it, two strangers do, or it is no configuration.
        PluginError: the provider that it names is not installed or failed to load.
    """
    from clsfit.config import yaml  # PyYAML takes a while to import, and completion seldom needs it

    if name == DEFAULT_RECIPE and not any(offer.name == name for offer in plugins.offers("recipe")):
        raise ConfigError(
            "there is no recipe 'default': the plugins that offer one are switched off, missing or broken",
            "; ".join(plugins.warnings()),
            "switch the bundled plugin on again; see: clsfit plugins list",
        )
    offer = plugins.find("recipe", name)
    return read_layer(yaml.parse(offer.resource(), f"recipe {name}"), f"recipe {name}", is_recipe=True)


def _selections(draft: Draft, plugins: Plugins) -> dict[str, tuple[Selection, ...]]:
    """Every slot's components with checked parameters; those whose targets must be imported come last."""
    pending: list[tuple[str, int, Choice, Offer]] = []
    for slot in SLOTS:
        for position, choice in enumerate(draft.choices[slot]):
            pending.append((slot, position, choice, choice.offer(kind_of(slot), plugins)))
    made: dict[tuple[str, int], Selection] = {}
    for slot, position, choice, offer in sorted(pending, key=lambda p: p[3].component.params is None):
        name = plugins.short_name(offer)
        values, sources = values_for(slot, choice, offer, plugins, draft.notes)
        where = f"--{slot}" if slot in SINGLE else f"--{slot}.{name}"
        made[slot, position] = Selection(name, validate(offer, values, where, sources), offer)
    return {slot: tuple(made[slot, i] for i in range(len(draft.choices[slot]))) for slot in SLOTS}
