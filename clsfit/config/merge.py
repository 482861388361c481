"""Layers into one: which component each slot holds in the end, and which values are meant for it.

A name replaces what lower layers named, with the parameters that they gave for it. Parameters given
without a name (``loss: {gamma: 3}``, ``CLSFIT_LOSS__GAMMA``) are for whatever the slot holds in the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clsfit.config.layers import SINGLE, SLOTS, Layer, Pick, kind_of
from clsfit.config.values import Value
from clsfit.endings import OWN
from clsfit.errors import ClsfitError, ConfigError, DataError, PluginError, printable
from clsfit.parameters import match, parameters_of
from clsfit.registry import Offer, Plugins, nearest


@dataclass(frozen=True, slots=True)
class Assignment:
    """One parameter's value in one layer.

    Attributes:
        key: the parameter as written.
        value: with its place.
        layer: where it comes from.
        level: the layer's position, from 0.
        holder: what the slot held in that layer.
        named: whether that layer named the component, so that the value is for this one only.
    """

    key: str
    value: Value
    layer: Layer
    level: int
    holder: Offer | str | None
    named: bool


@dataclass(slots=True)
class Choice:
    """What a slot holds, or one entry of a repeatable slot.

    Attributes:
        holder: the offer; a name that nobody offers (or, for data, a path); None while nothing is named.
        where: the place that named it.
        level: the layer that put it there.
        plain: whether the name stands alone, so that for ``data`` it may be a path.
        assignments: lowest layer first.
    """

    holder: Offer | str | None = None
    where: str = ""
    level: int = 0
    plain: bool = False
    assignments: list[Assignment] = field(default_factory=list)

    def offer(self, kind: str, plugins: Plugins) -> Offer:
        """The offer that is held.

        Raises:
            ClsfitError: the name means nothing; with the place that wrote it.
        """
        if isinstance(self.holder, Offer):
            return self.holder
        try:
            return plugins.find(kind, self.holder or "")
        except ClsfitError as error:
            where = "; ".join(part for part in (self.where, error.where) if part)
            raise type(error)(error.what, where, error.remedy) from error

    def assign(self, pick: Pick, layer: Layer, level: int) -> None:
        """Adds the parameters of a layer's pick."""
        named = pick.name is not None
        self.assignments += [Assignment(k, v, layer, level, self.holder, named) for k, v in pick.params.items()]


@dataclass(slots=True)
class Draft:
    """The merged layers, values still as written.

    Attributes:
        settings: by field name.
        choices: for each slot; a single slot has at most one.
        explicit: dotted keys that layers above the recipes set.
        notes: for the user: what was dropped.
    """

    settings: dict[str, Value] = field(default_factory=dict)
    choices: dict[str, list[Choice]] = field(default_factory=dict)
    explicit: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def merge(layers: Sequence[Layer], plugins: Plugins) -> Draft:
    """Puts the layers on top of each other, lowest first.

    Raises:
        ConfigError: a single slot stays empty.
    """
    draft = Draft()
    for layer in layers:
        for name, value in layer.settings.items():
            draft.settings[name] = _joined(draft.settings.get(name), value) if name == "disable_plugins" else value
        if not layer.is_recipe:
            draft.explicit |= set(layer.settings) | set(_explicit_picks(layer))
    for slot in SLOTS:
        if slot in SINGLE:
            choice = _merge_single(slot, layers, plugins, draft.notes)
            if choice.holder is None and slot != "data":
                raise ConfigError(f"no {slot} is selected", "", f"add --{slot} NAME; see: clsfit plugins list")
            draft.choices[slot] = [choice] if choice.holder is not None else []
        else:
            draft.choices[slot] = _merge_several(slot, layers, plugins)
    return draft


def data_path(choice: Choice, plugins: Plugins) -> str | None:
    """The path that ``data`` names, or None where it names a data set.

    Raises:
        DataError: it is neither, or a file that nothing opens.
        ConfigError: two plugins open the file.
    """
    if isinstance(choice.holder, Offer) or not choice.plain:
        return None
    text = str(choice.holder)
    if os.path.isfile(text) and not text.lower().endswith(OWN):
        plugins.opener(text)  # why it was not taken: two plugins would open it
        raise plugins.refusal(text)
    if os.path.exists(text):
        return text
    provider, prefixed, _ = text.rpartition(":")
    if prefixed and any(plugin.answers_to(provider) for plugin in plugins.plugins):
        return None
    names = plugins.names("dataset")
    broken = "; ".join(plugins.warnings())
    hint = nearest(text, names) or (f"data sets by name: {', '.join(names)}" if names else "")
    raise DataError(f"no such folder, archive, table or data set: {printable(text)!r}", broken, hint)


def values_for(
    slot: str, choice: Choice, offer: Offer, plugins: Plugins, notes: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values for a component's parameters by name, and where each was written.

    Raises:
        ConfigError: a parameter that the component does not have.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    names = [parameter.name for parameter in parameters_of(offer)]
    for assignment in choice.assignments:
        name = match(assignment.key, names, any_case=assignment.layer.any_case)
        if name is not None:
            values[name], sources[name] = assignment.value.plain(), assignment.value.where
        elif _left_behind(assignment, choice):
            _note_dropped([assignment], slot, offer, notes)
        else:
            _refuse_inert(slot, offer, assignment, names, plugins)
            values[assignment.key] = assignment.value.plain()
            sources[assignment.key] = assignment.value.where
    return values, sources


def inert_path_parameters(choice: Choice, path: str) -> None:
    """Refuses parameters of a data set where DATA is a path.

    Raises:
        ConfigError: there is one.
    """
    for assignment in choice.assignments:
        if not assignment.layer.is_recipe:
            raise ConfigError(
                f"--data.{printable(assignment.key)} is for a data set by name, but DATA is a path: {printable(path)}",
                assignment.value.where,
                "leave it out",
            )


def _joined(lower: Value | None, upper: Value) -> Value:
    """Plugins to disable: those of every layer."""
    parts = []
    for value in (lower, upper):
        if value is not None:
            raw = value.plain()
            raw = [name.strip() for name in raw.split(",")] if isinstance(raw, str) else raw
            parts += raw if isinstance(raw, list) else [raw]
    return Value([Value(part, upper.where) for part in dict.fromkeys(parts)], upper.where)


def _explicit_picks(layer: Layer) -> Iterable[str]:
    for slot, picks in layer.picks.items():
        for pick in picks:
            head = slot if slot in SINGLE or pick.name == "none" else f"{slot}.{pick.name}"
            if pick.name is not None:
                yield head
            yield from (f"{head}.{key.replace('-', '_')}" for key in pick.params)


def _holder(slot: str, pick: Pick, plugins: Plugins) -> Offer | str:
    """What a pick names. An unknown name is an error only if it is still there in the end."""
    name = pick.name or ""
    if pick.opener is not None:
        return pick.opener
    if slot == "data" and pick.plain and os.path.exists(name):
        return name
    try:
        return plugins.find(kind_of(slot), name)
    except (ConfigError, PluginError):
        return name


def _opened(pick: Pick, plugins: Plugins) -> Pick:
    """The pick of ``data``; where it names a file that a data set opens, that data set with the file as its path."""
    try:
        opener = plugins.opener(pick.name) if pick.name is not None else None
    except ConfigError:  # of two plugins, which is an error only if it is still there in the end
        return pick
    if opener is None or pick.name is None:
        return pick
    if "path" in pick.params:
        raise ConfigError(
            f"DATA is a file already: {printable(pick.name)}",
            pick.params["path"].where,
            f"leave --data.path out, or name the data set: {plugins.short_name(opener)}",
        )
    return Pick(pick.name, pick.where, {"path": Value(pick.name, pick.where), **pick.params}, opener=opener)


def _merge_single(slot: str, layers: Sequence[Layer], plugins: Plugins, notes: list[str]) -> Choice:
    choice = Choice()
    for level, layer in enumerate(layers):
        for pick in layer.picks.get(slot, ()):
            if slot == "data":
                pick = _opened(pick, plugins)
            if pick.name is not None:
                holder = _holder(slot, pick, plugins)
                if holder != choice.holder:
                    dropped = [a for a in choice.assignments if a.named]
                    _note_dropped(dropped, slot, holder, notes)
                    kept = [a for a in choice.assignments if not a.named]
                    choice = Choice(holder, pick.where, level, pick.plain, kept)
            choice.assign(pick, layer, level)
    return choice


def _merge_several(slot: str, layers: Sequence[Layer], plugins: Plugins) -> list[Choice]:
    """``none``, wherever it stands in a layer's list, first empties what lower layers gave."""
    found: list[Choice] = []
    for level, layer in enumerate(layers):
        picks = layer.picks.get(slot, ())
        if any(pick.name == "none" for pick in picks):
            found = []
        for pick in picks:
            if pick.name == "none":
                continue
            if pick.name is None:
                raise ConfigError(f"{slot} needs a name", pick.where)
            holder = _holder(slot, pick, plugins)
            choice = next((choice for choice in found if choice.holder == holder), None)
            if choice is None:
                choice = Choice(holder, pick.where, level)
                found.append(choice)
            choice.assign(pick, layer, level)
    return found


def _left_behind(assignment: Assignment, choice: Choice) -> bool:
    """Whether a nameless parameter was for what its slot held before a higher layer replaced it."""
    before = assignment.holder
    if assignment.named or assignment.level >= choice.level or not isinstance(before, Offer):
        return False
    if before == choice.holder or before.component.params is None:
        return False
    return match(assignment.key, [p.name for p in parameters_of(before)]) is not None


def _note_dropped(dropped: Sequence[Assignment], slot: str, holder: Offer | str, notes: list[str]) -> None:
    """Tells what no longer applies; what recipes gave is dropped without a word."""
    name = holder.name if isinstance(holder, Offer) else holder
    for assignment in dropped:
        if not assignment.layer.is_recipe:
            key = f"{slot}.{printable(assignment.key)}"
            notes.append(f"{key} ({assignment.value.where}) does not apply to {slot} {printable(name)!r}")


def _refuse_inert(slot: str, offer: Offer, assignment: Assignment, names: Sequence[str], plugins: Plugins) -> None:
    """Raises where another component of the slot has the parameter; otherwise it is a plain typo."""
    if slot not in SINGLE:
        return
    owners = _owners(slot, plugins)
    key = match(assignment.key, list(owners), any_case=assignment.layer.any_case)
    option = f"--{slot}.{printable(assignment.key)}"
    if key is not None:
        names_of = " or ".join(repr(owner) for owner in owners[key])
        where = "" if assignment.value.where == f"option {option}" else assignment.value.where
        raise ConfigError(
            f"{option} belongs to {slot} {names_of}, which is not selected",
            "; ".join(part for part in (where, f"selected: {slot} {offer.name!r}") if part),
            f"add {' or '.join(f'--{slot} {owner}' for owner in owners[key])}",
        )
    if not nearest(assignment.key, names) and nearest(assignment.key, owners):
        raise ConfigError(
            f"no {slot} has a parameter {printable(assignment.key)!r}",
            assignment.value.where,
            nearest(assignment.key, owners),
        )


def _owners(slot: str, plugins: Plugins) -> Mapping[str, list[str]]:
    """The components of a slot that have each parameter, as far as that is known without imports."""
    owners: dict[str, list[str]] = {}
    for offer in plugins.offers(kind_of(slot)):
        if offer.component.params is not None:
            for parameter in parameters_of(offer):
                owners.setdefault(parameter.name, []).append(plugins.short_name(offer))
    return owners
