"""The options of a component: which it has, and whether given values fit them.

They come from the component's ``params`` dataclass, whose annotations carry help and bounds, or else
from the target's signature and docstring, and only then is the target imported. pydantic does the
checking; it is imported when there is a value to check.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from clsfit.added import ADDED
from clsfit.errors import ConfigError, PluginError, printable
from clsfit.hints import bounds_texts, element_bounds, is_collection, members, split, type_text
from clsfit.registry import nearest, one_line

if TYPE_CHECKING:
    from pydantic import ValidationError

    from clsfit.registry import Offer

SCALARS = (int, float, str, bool, Path)
NONE_WORDS = frozenset({"none", "null"})


class Text(str):
    """A value as somebody typed it (an option, ``--set``, the environment).

    ``str`` parameters take the text as it is, all others :attr:`value`.

    Attributes:
        value: what the text means as a YAML value.
    """

    value: Any

    def __new__(cls, text: str, value: Any) -> Text:
        made = super().__new__(cls, text)
        made.value = value
        return made


@dataclass(frozen=True, slots=True)
class Parameter:
    """One option of a component, or of the core.

    Attributes:
        name: as the factory spells it.
        type: a type hint without ``Annotated``: int, float, str, bool, Path, Literal, tuples and
            lists of them, unions of them with None; Any for a value that is read as YAML.
        default: its value, or :data:`dataclasses.MISSING` if it must be given.
        help: one line.
        constraints: bounds, as objects of ``annotated_types``.
        written: how help shows the type, where its own name would not say it; empty: it does.
    """

    name: str
    type: Any
    default: Any
    help: str
    constraints: tuple[Any, ...] = ()
    written: str = ""

    @property
    def optional(self) -> bool:
        """Whether None is a value of it."""
        return types.NoneType in get_args(self.type)

    @property
    def bounds(self) -> str:
        """The constraints as a text such as ``>= 0, < 1`` or ``each >= 0``; empty if there are none."""
        return ", ".join(filter(None, [*bounds_texts(self.constraints), element_bounds(self.type)]))

    @property
    def type_text(self) -> str:
        """The type as help shows it: ``float``, ``macro|micro``, ``int or none``."""
        return self.written or type_text(self.type)


def parameters_of(offer: Offer) -> tuple[Parameter, ...]:
    """The options of a component: its own, in the order in which it lists them, then the core's.

    Raises:
        PluginError: its ``params`` cannot be read, or (without ``params``) its target not be imported.
    """
    own = own_parameters(offer)
    return own + added_parameters(offer.kind, [parameter.name for parameter in own])


def added_parameters(kind: str, own: Collection[str]) -> tuple[Parameter, ...]:
    """What :mod:`clsfit.added` gives to a component of ``kind`` whose own options are called ``own``."""
    if kind not in ADDED:
        return ()
    return tuple(parameter for parameter in fields_of(ADDED[kind]) if parameter.name not in own)


def own_parameters(offer: Offer) -> tuple[Parameter, ...]:
    """The options that a component's factory takes.

    Raises:
        PluginError: as :func:`parameters_of`.
    """
    if offer.component.params is None:
        from clsfit.signatures import signature_parameters

        return signature_parameters(offer.load())
    try:
        return fields_of(offer.component.params)
    except Exception as error:  # a type hint that names what is not there
        raise PluginError(
            f"the parameters of {offer.kind} {offer.name!r} cannot be read: {one_line(error)}",
            f"plugin {offer.provider}",
        ) from error


def fields_of(cls: type[Any]) -> tuple[Parameter, ...]:
    """The fields of a dataclass whose annotations are ``Annotated[type, "help", bounds...]``."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        hint, extras = split(hints[field.name])
        default = field.default if field.default_factory is MISSING else field.default_factory()
        text = next((extra for extra in extras if isinstance(extra, str)), "")
        bounds = tuple(extra for extra in extras if not isinstance(extra, str))
        found.append(Parameter(field.name, hint, default, text, bounds))
    return tuple(found)


def free_on_resume(offer: Offer) -> frozenset[str]:
    """The parameters that may differ when a run is resumed, as the ``params`` dataclass says."""
    return frozenset(getattr(offer.component.params, "free_on_resume", ()))


def validate(
    offer: Offer, values: Mapping[str, Any], where: str, sources: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The component's keyword arguments: ``values`` by the parameters' types, defaults filled in.

    Args:
        offer: the component.
        values: by parameter name (``-`` for ``_`` is accepted); texts are parsed by type.
        where: how its options begin: ``"--loss"``, ``"--metric.f1"``.
        sources: for messages, where each value was written.

    Raises:
        ConfigError: an unknown or missing parameter, a value of another type or out of bounds.
    """
    parameters = parameters_of(offer)
    sources = sources or {}
    result = defaults(parameters)
    for key, value in values.items():
        found = match(key, [parameter.name for parameter in parameters])
        if found is None:
            raise unknown_parameter(offer, parameters, key, where, sources.get(key, ""))
        parameter = next(p for p in parameters if p.name == found)
        result[found] = coerce(parameter, value, f"{where}.{found}", sources.get(key, ""))
    for parameter in parameters:
        if parameter.name not in result:
            raise ConfigError(f"{where}.{parameter.name} must be given", f"{offer.kind} {offer.name!r}", parameter.help)
    return _check_together(offer, result, where, sources)


def defaults(parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The default of every parameter that has one."""
    return {p.name: p.default for p in parameters if p.default is not MISSING}


def match(key: str, names: Collection[str], *, any_case: bool = False) -> str | None:
    """Which of ``names`` is meant by ``key``, in which ``-`` may stand for ``_``; None if none is.

    Args:
        key: as somebody wrote it.
        names: what there is.
        any_case: whether capital letters make no difference (environment variables).
    """
    wanted = key.replace("-", "_")
    for name in names:
        plain = name.replace("-", "_")
        if plain == wanted or (any_case and plain.lower() == wanted.lower()):
            return name
    return None


def unknown_parameter(offer: Offer, parameters: Sequence[Parameter], key: str, where: str, source: str) -> ConfigError:
    """The error for a parameter that a component does not have."""
    names = [parameter.name for parameter in parameters]
    owned = f"its parameters: {', '.join(names)}" if names else "it has no parameters"
    return ConfigError(
        f"{offer.kind} {offer.name!r} has no parameter {printable(key)!r}",
        source or f"option {where}.{printable(key)}",
        nearest(f"{where}.{key}", [f"{where}.{name}" for name in names] if nearest(key, names) else ()) or owned,
    )


def coerce(parameter: Parameter, value: Any, option: str, source: str = "") -> Any:
    """``value`` as the parameter's type, within its bounds.

    Raises:
        ConfigError: it does not fit; the message begins with ``option``.
    """
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    takes_none = parameter.optional or parameter.type is Any
    if isinstance(value, str) and takes_none and value.lower() in NONE_WORDS:
        return None
    try:
        adapter = TypeAdapter(_annotated(parameter))
    except PydanticSchemaGenerationError:  # a type of the plugin's own
        adapter = TypeAdapter(Any)
    problem = ""
    for candidate in _readings(parameter.type, value):
        try:
            if (isinstance(candidate, bool) and bool not in members(parameter.type)) or _has_nan(candidate):
                raise ValueError("this value is not allowed here")
            result = adapter.validate_python(candidate)
        except ValidationError as error:
            problem = problem or _complaint(parameter.type, error)
        except ValueError as error:
            problem = problem or str(error)
        else:
            return result
    problem = problem.replace("Input should", "it should").replace("Field required", "a value is missing")
    expected = f"expected {parameter.type_text}" + (f" {parameter.bounds}" if parameter.bounds else "")
    raise ConfigError(
        f"{option}: {printable(shown(value))!r} does not fit: {problem}", beside(option, source), expected
    )


def _complaint(hint: Any, error: ValidationError) -> str:
    """Of a union's complaints the one that came furthest into the value; all, where none came into it."""
    found = error.errors()
    furthest = max(found, key=lambda one: len(one["loc"]))
    if len(members(hint)) > 1 and len(furthest["loc"]) == 1:
        return " or ".join(dict.fromkeys(one["msg"] for one in found)).replace(" or Input should be", " or")
    return furthest["msg"]


def shown(value: Any) -> str:
    """A value in a message, as YAML writes it: ``true`` and ``null``, not ``True`` and ``None``."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def beside(option: str, source: str) -> str:
    """The place of a value, unless the message that begins with ``option`` says it already."""
    return "" if source == f"option {option}" else source


def schema_of(parameter: Parameter) -> dict[str, Any]:
    """The JSON Schema of a parameter's values; empty for a type that pydantic does not know."""
    from pydantic import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, TypeAdapter

    try:
        return TypeAdapter(_annotated(parameter)).json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return {}


def _check_together(offer: Offer, values: dict[str, Any], where: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """Runs the ``params`` dataclass's own ``__post_init__`` over the values."""
    if offer.component.params is None:
        return values
    own = {parameter.name for parameter in own_parameters(offer)}
    try:
        made = offer.component.params(**{name: value for name, value in values.items() if name in own})
    except ValueError as error:
        text = " ".join(str(error).split())
        blamed = next((name for name in values if re.search(rf"\b{re.escape(name)}\b", text)), "")
        option = f"{where}.{blamed}" if blamed else where
        raise ConfigError(f"{option}: {printable(text)}", beside(option, sources.get(blamed, ""))) from error
    return {name: getattr(made, name) if name in own else value for name, value in values.items()}


def _readings(hint: Any, value: Any) -> list[Any]:
    """The ways in which ``value`` may be meant for a type, the likeliest first."""
    kinds = members(hint)
    if isinstance(value, Text):
        text, parsed = str(value), value.value
        if kinds == {str}:
            return [text]
        if isinstance(parsed, str) and "," in parsed and is_collection(hint):
            parsed = [part.strip() for part in parsed.split(",")]
        found = [parsed] if isinstance(parsed, str) else [parsed, text]
    else:
        found = [value]
    if is_collection(hint):
        found = [[v] if isinstance(v, str | int | float) else v for v in found]
    return [_texts(v) for v in found]


def _texts(value: Any) -> Any:
    """``value`` with plain ``str`` in place of :class:`Text`."""
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else shown(key): _texts(v) for key, v in value.items()}
    return [_texts(v) for v in value] if isinstance(value, list | tuple) else value


def _has_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_nan(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(_has_nan(v) for v in value)
    return isinstance(value, float) and math.isnan(value)


def _annotated(parameter: Parameter) -> Any:
    hint = parameter.type
    for constraint in parameter.constraints:
        hint = Annotated[hint, constraint]
    return hint
