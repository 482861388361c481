"""What all help pages have in common: ``MODEL`` without braces, and no type beside a switch.

Both are asked for by Typer's parameter ``cls``. Where a later Typer no longer calls these methods, its
own look comes back, and nothing else changes.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _usage(pieces: list[str]) -> list[str]:
    return [piece.replace("{", "").replace("}", "") for piece in pieces]


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command with such a page."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return _usage(super().collect_usage_pieces(ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands with such a page."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))
