"""The options of a factory that gives no ``params`` dataclass: its signature and its docstring."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from clsfit.contracts import FILLED
from clsfit.parameters import SCALARS, Parameter


def signature_parameters(target: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Reads a factory's signature; what the core fills and ``*args``, ``**kwargs`` are left out."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # written in C, without a signature
        return ()
    maker: Any = target
    if isinstance(target, type):
        maker = target.__init__  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(maker)
    except Exception:  # a hint may name anything
        hints = {}
    helps = _argument_helps(f"{inspect.getdoc(target) or ''}\n\n{inspect.getdoc(maker) or ''}")
    found = []
    for name, argument in signature.parameters.items():
        if name in {*FILLED, "name"} or argument.kind not in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            continue
        default = MISSING if argument.default is argument.empty else argument.default
        if not (default is MISSING or _writable(default)):
            continue  # a class or a function cannot be written in a configuration
        hint = hints[name] if name in hints else _type_of(default)
        hint = _plain(hint)
        if default is None and hint is not Any and types.NoneType not in get_args(hint):
            hint = hint | None
        found.append(Parameter(name, hint, default, helps.get(name, "")))
    return tuple(found)


def lists(target: Any, name: str) -> bool:
    """Whether a factory's signature has a parameter of that name."""
    try:
        return name in inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def _writable(default: Any) -> bool:
    if isinstance(default, list | tuple):
        return all(map(_writable, default))
    if isinstance(default, dict):
        return all(isinstance(key, str) and _writable(value) for key, value in default.items())
    return default is None or type(default) in SCALARS or isinstance(default, Path)


def _type_of(default: Any) -> Any:
    return type(default) if type(default) in SCALARS else Any


def _plain(hint: Any) -> Any:
    """A type hint reduced to what can be written in a configuration; Any where nothing remains."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    origin, args = get_origin(hint), get_args(hint)
    if hint in SCALARS or hint is types.NoneType or origin is Literal:
        return hint
    if origin in (Union, types.UnionType):
        kept = [plain for plain in map(_plain, args) if plain is not Any]
        return Union[tuple(kept)] if any(k is not types.NoneType for k in kept) else Any  # noqa: UP007
    if origin is tuple and args:
        return tuple.__class_getitem__(tuple(part if part is ... else _plain(part) for part in args))
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping) and args:
        return list[_plain(args[0])]  # type: ignore[misc]
    return Any


def _argument_helps(doc: str) -> dict[str, str]:
    """The first sentence of each entry under ``Args:`` in a docstring."""
    helps: dict[str, str] = {}
    inside, name, depth = False, "", 0
    for line in doc.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if re.fullmatch(r"(Args|Arguments|Parameters):", text):
            inside, name, depth = True, "", 0
        elif inside and text and indent == 0:
            inside = False
        elif inside and text:
            depth = depth or indent
            entry = re.match(r"\*{0,2}(\w+)(?: ?\([^:]*\))?: *(.*)", text) if indent == depth else None
            if entry:
                name = entry[1]
                helps[name] = entry[2]
            elif name:
                helps[name] = f"{helps[name]} {text}".strip()
    return {name: re.split(r"(?<=[.;]) ", text, maxsplit=1)[0].rstrip(".;") for name, text in helps.items()}
