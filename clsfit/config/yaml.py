"""YAML as clsfit reads and writes it: plain values, with the place where each was written.

The words of YAML 1.2's core schema, decimal numbers only: ``1e-3`` is a float, ``no`` and ``on`` are
texts, ``007`` is 7, a date is a text. No tags, no duplicate keys.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from clsfit.config.values import Value
from clsfit.errors import ConfigError, printable

_WORDS = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}


_MOST_VALUES = 250_000


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name and type)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever this module's loader, or YAML 1.1, would not read back as a text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """A text; with escapes where PyYAML's other styles would change it (U+0085, line breaks)."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


for _tag, (_pattern, _first) in _WORDS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def read_file(path: Path) -> Value:
    """The tree in a YAML file.

    Raises:
        ConfigError: it is not there, not UTF-8, or no YAML that clsfit reads.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {printable(str(path))}: {error.strerror}", "option -c") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{printable(str(path))} is not UTF-8 text", f"byte {error.start}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Value:
    """The value that ``text`` holds; an empty text is an empty tree.

    Raises:
        ConfigError: with ``source:line``.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        return Value({}, f"{printable(source)}:1") if node is None else _value(node, printable(source), (), _Room())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        if str(problem).startswith("but "):  # the other half of the sentence is the context
            problem = f"{getattr(error, 'context', None) or ''} {problem}".strip()
        raise ConfigError(f"no valid YAML: {printable(str(problem))}", f"{printable(source)}{line}") from error
    except RecursionError as error:
        raise ConfigError("brackets in brackets, too deep to read", printable(source)) from error


def parse_value(text: str) -> Any:
    """What a single typed value means in YAML; the text itself where it is no YAML."""
    try:
        return parse(text, "value").plain() if text.strip() else text
    except ConfigError:
        return text


def dump(tree: dict[str, Any]) -> str:
    """``tree`` as YAML that :func:`parse` reads back equal, innermost collections on one line."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


class _Room:
    """How many values there may still be: a few aliases of aliases stand for more than any memory holds."""

    def __init__(self) -> None:
        self.left = _MOST_VALUES

    def take(self, where: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConfigError(f"more than {_MOST_VALUES:,} values, aliases counted as often as they are used", where)


def _value(node: yaml.Node, source: str, above: tuple[yaml.Node, ...], room: _Room) -> Value:
    where = f"{source}:{node.start_mark.line + 1}"
    room.take(where)
    if any(node is other for other in above):
        raise ConfigError("an alias that contains itself", where)
    if isinstance(node, yaml.ScalarNode):
        return Value(_scalar(node, where), where)
    if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise ConfigError(f"YAML tag {printable(node.tag)} is not read", where)
    if isinstance(node, yaml.SequenceNode):
        return Value([_value(item, source, (*above, node), room) for item in node.value], where)
    found: dict[str, Value] = {}
    for key, item in node.value:
        at = f"{source}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError("a key is a text", at)
        if key.value in found:
            raise ConfigError(f"key {printable(key.value)!r} is written twice", at, "keep one of them")
        found[key.value] = _value(item, source, (*above, node), room)
    return Value(found, where)


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"not a number: {printable(text[:40])}", where) from error
    raise ConfigError(f"YAML tag {printable(node.tag)} is not read", where)
