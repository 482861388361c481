"""What a type hint allows to be written, and how help shows it."""

from __future__ import annotations

import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A hint and the annotations around it."""
    return (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


def members(hint: Any) -> set[Any]:
    """The alternatives of a union, without None; Literals as the types of their values."""
    hint, _ = split(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return {m for part in get_args(hint) if part is not types.NoneType for m in members(part)}
    if get_origin(hint) is Literal:
        return {type(value) for value in get_args(hint)}
    return {int, float, str, bool} if hint is Any else {hint}


def is_collection(hint: Any) -> bool:
    """Whether one of the alternatives is a tuple or a list."""
    return any((get_origin(member) or member) in (tuple, list) for member in members(hint))


def bounds_texts(constraints: Iterable[Any]) -> Iterable[str]:
    """Bounds in the manner of ``annotated_types`` as ``>= 0``, ``at least 1 long``."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    lengths = {"min_length": "at least {} long", "max_length": "at most {} long"}
    for constraint in constraints:
        for name, sign in signs.items():
            if getattr(constraint, name, None) is not None:
                yield f"{sign} {getattr(constraint, name)}"
        for name, text in lengths.items():
            if getattr(constraint, name, None):
                yield text.format(getattr(constraint, name))


def element_bounds(hint: Any) -> str:
    """The bounds of a collection's elements, ``each >= 0, < 1``; empty where they have none or differ."""
    inner, _ = split(hint)
    origin, args = get_origin(inner), get_args(inner)
    if origin in (Union, types.UnionType):
        return next((text for arg in args if (text := element_bounds(arg))), "")
    if origin not in (tuple, list, dict):
        return ""
    found = {", ".join(bounds_texts(split(arg)[1])) for arg in args[origin is dict :] if arg is not ...}
    return f"each {found.pop()}" if len(found) == 1 and "" not in found else ""


def type_text(hint: Any) -> str:
    """A type as help shows it: ``float``, ``macro|micro``, ``int or none``, ``float,float``, ``int,...``."""
    hint, _ = split(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if arg is types.NoneType else type_text(arg) for arg in args)
    if origin is Literal:
        return "|".join("none" if arg is None else str(arg) for arg in args)
    if origin in (tuple, list):
        many = origin is list or args[1:] == (...,)
        return f"{type_text(args[0])},..." if many else ",".join(type_text(arg) for arg in args)
    if origin is dict:
        return f"{{name: {type_text(args[1])}}}"
    names = {str: "text", bool: "true|false", Path: "path", Any: "value"}
    return names.get(hint) or str(getattr(hint, "__name__", "value"))
