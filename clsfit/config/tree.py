"""The resolved configuration, as objects and as the plain tree that config.yaml holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from clsfit.config.layers import SINGLE, SLOTS
from clsfit.config.settings import Settings, written
from clsfit.parameters import free_on_resume
from clsfit.registry import Offer

FREE_SETTINGS = frozenset({"workers", "start_method", "cache", "disable_plugins", "no_plugins"})
"""Settings that change no number of a run, so that they may differ when it is resumed."""

_ABSENT = "not set"


@dataclass(frozen=True)
class Selection:
    """A component that the run uses.

    Attributes:
        name: how a configuration names it: bare, or ``distribution:name`` where that is needed.
        params: all its options, defaults filled in.
        offer: who offers it.
    """

    name: str
    params: dict[str, Any]
    offer: Offer

    @property
    def file(self) -> str | None:
        """The file that this data set was selected to open; None: it is none that opens files."""
        path = self.params.get("path") if self.offer.component.endings else None
        return None if path is None else str(path)


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes.

    Attributes:
        settings: the core options.
        data: a path as given, a data set by name, or None.
        components: the selections of each slot but data; single slots have one.
        explicit: dotted keys that the user set above the recipes: ``epochs``, ``loss``,
            ``loss.gamma``, ``metric.f1``, ``metric.f1.average``.
        recipe: the recipe that lies on top of ``default``, or ``default``.
        notes: lines for the user about values that no longer apply.
    """

    settings: Settings
    data: str | Selection | None
    components: dict[str, tuple[Selection, ...]]
    explicit: frozenset[str] = frozenset()
    recipe: str = "default"
    notes: tuple[str, ...] = ()

    @property
    def data_path(self) -> str | None:
        """Where DATA is: its path, or that of the file that a plugin's data set opens; None: it is in no place."""
        return self.data.file if isinstance(self.data, Selection) else self.data

    def anchored_data(self) -> Config:
        """The same configuration with DATA's place from the root, so that it says the same in any directory."""
        if self.data_path is None:
            return self
        data: str | Selection = os.path.abspath(self.data_path)
        if isinstance(self.data, Selection):
            data = dataclasses.replace(self.data, params=self.data.params | {"path": data})
        return dataclasses.replace(self, data=data)

    def one(self, slot: str) -> Selection:
        """The selection of a single slot."""
        return self.components[slot][0]

    def all(self, slot: str) -> tuple[Selection, ...]:
        """The selections of a repeatable slot, in order."""
        return self.components[slot]

    def tree(self) -> dict[str, Any]:
        """Plain values that :func:`clsfit.config.resolve` turns into the same run again."""
        tree: dict[str, Any] = {}
        for slot in SLOTS:
            if slot == "data":
                if self.data is not None:
                    tree[slot] = self.data if isinstance(self.data, str) else _entry(self.data)
            elif slot in SINGLE:
                tree[slot] = _entry(self.one(slot))
            else:
                tree[slot] = ["none", *(_entry(choice) if choice.params else choice.name for choice in self.all(slot))]
        return tree | written(self.settings)

    def to_yaml(self) -> str:
        """:meth:`tree` as the text of config.yaml."""
        from clsfit.config import yaml

        return yaml.dump(self.tree())

    def replace_settings(self, **changes: Any) -> Config:
        """The same configuration with other values for some settings."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **changes))


def free_keys(config: Config) -> frozenset[str]:
    """The dotted keys whose values may differ when a run is resumed."""
    free = set(FREE_SETTINGS)
    for slot, choices in config.components.items():
        for choice in choices:
            head = slot if slot in SINGLE else f"{slot}.{choice.name}"
            free |= {f"{head}.{name}" for name in free_on_resume(choice.offer)}
    return frozenset(free)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """What differs between two trees of :meth:`Config.tree`: ``loss.gamma: 2.0 -> 3.0``, sorted by key.

    Args:
        old: the recorded tree.
        new: the one asked for now.
        free: dotted keys that do not matter.
    """
    before, after = flatten(old), flatten(new)
    lines = []
    for key in dict.fromkeys([*before, *after]):
        if key in free or before.get(key, _ABSENT) == after.get(key, _ABSENT):
            continue
        parent = key.rpartition(".")[0]
        while parent and before.get(parent) == after.get(parent):
            parent = parent.rpartition(".")[0]
        if not parent or (key in before and key in after):
            lines.append(f"{key}: {_shown(before.get(key, _ABSENT))} -> {_shown(after.get(key, _ABSENT))}")
    return lines


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys: ``loss`` and ``metric`` hold names, ``loss.gamma`` and ``metric.f1.average`` values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in SLOTS:
            flat[key] = value
        elif key in SINGLE:
            entry = value if isinstance(value, Mapping) else {"name": value}
            flat |= _flat_entry(key, entry)
        else:
            entries = [item if isinstance(item, Mapping) else {"name": item} for item in value]
            entries = [entry for entry in entries if entry["name"] != "none"]
            flat[key] = [entry["name"] for entry in entries]
            for entry in entries:
                flat |= {k: v for k, v in _flat_entry(f"{key}.{entry['name']}", entry).items() if k.count(".") > 1}
    return flat


def _flat_entry(head: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    params = {f"{head}.{name}": value for name, value in entry.items() if name != "name"}
    return {head: entry.get("name")} | params


def _shown(value: Any) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _entry(choice: Selection) -> dict[str, Any]:
    return {"name": choice.name} | {name: _plain(value) for name, value in choice.params.items()}


def _plain(value: Any) -> Any:
    """A parameter's value as YAML can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    return str(value) if isinstance(value, PurePath) else value
