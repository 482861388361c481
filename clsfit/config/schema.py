"""The JSON Schema of configuration files, for editors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsfit.config.layers import SINGLE, SLOTS, kind_of
from clsfit.config.settings import AUTO, parameters
from clsfit.parameters import Parameter, parameters_of, schema_of
from clsfit.registry import Offer, Plugins


def json_schema(plugins: Plugins) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the tree, for the components that ``plugins`` offer.

    Parameters of components without ``params`` are not known without importing them, so any are allowed.
    """
    properties: dict[str, Any] = {}
    for slot in SLOTS:
        offers = plugins.offers(kind_of(slot))
        named = [_named(offer, _names(offer, plugins), slot in SINGLE) for offer in offers]
        names = [_names(offer, plugins) | {"description": offer.component.help} for offer in offers]
        if slot == "data":
            properties[slot] = {"anyOf": [{"type": "string"}, *named], "description": "a path, or a data set by name"}
        elif slot in SINGLE:
            properties[slot] = {"anyOf": [*names, *named]}
        else:
            properties[slot] = _several([{"const": "none"}, *names, *named], plugins, offers)
    for parameter in parameters():
        properties[parameter.name] = _setting(parameter)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clsfit configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _several(entries: list[dict[str, Any]], plugins: Plugins, offers: Sequence[Offer]) -> dict[str, Any]:
    """One entry, a list of entries, or a mapping from names to parameters."""
    by_name = {
        name: {"anyOf": [{"type": "null"}, _params(offer)]}
        for offer in offers
        for name in _names(offer, plugins)["enum"]
    }
    mapping = {"type": "object", "properties": by_name, "additionalProperties": False}
    return {"anyOf": [*entries, {"type": "array", "items": {"anyOf": [*entries, mapping]}}, mapping]}


def _names(offer: Offer, plugins: Plugins) -> dict[str, Any]:
    """The names that a component may be written by: the short one, and the one with its provider."""
    return {"enum": list(dict.fromkeys([plugins.short_name(offer), offer.qualified]))}


def _named(offer: Offer, name: dict[str, Any], name_optional: bool) -> dict[str, Any]:
    schema = _params(offer)
    schema["properties"] = {"name": name} | schema["properties"]
    if not name_optional:
        schema["required"] = ["name"]
    return schema


def _params(offer: Offer) -> dict[str, Any]:
    known = offer.component.params is not None
    listed = {parameter.name: _described(parameter) for parameter in parameters_of(offer)} if known else {}
    return {
        "type": "object",
        "description": offer.component.help,
        "properties": listed,
        "additionalProperties": not known,
    }


def _setting(parameter: Parameter) -> dict[str, Any]:
    schema = _described(parameter)
    if parameter.name == "input_size":
        schema = {"type": ["integer", "string"], "pattern": r"^(auto|\d+(x\d+)?)$", "minimum": 1} | _texts(schema)
    elif parameter.name in {"mean", "std"}:
        schema = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]} | _texts(schema)
    auto = parameter.name in AUTO and parameter.name != "input_size"
    if auto or {"type": "null"} in schema.get("anyOf", ()):
        description = schema.pop("description")
        schema = {"anyOf": [{"const": "auto" if auto else "none"}, schema], "description": description}
    return schema


def _texts(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("description",) if key in schema}


def _described(parameter: Parameter) -> dict[str, Any]:
    return schema_of(parameter) | {"description": parameter.help}
