"""From parameters to Typer options: ``--loss.gamma`` with its type, default, help and panel.

All values pass Typer as texts. What they mean is decided where it is decided for YAML files and the
environment too, in :mod:`clsfit.config`, so that one value has one meaning and one error message.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from clsfit.errors import ConfigError, printable
from clsfit.hookspecs import OFFERS
from clsfit.registry import REPEATABLE, nearest

if TYPE_CHECKING:
    from clsfit.parameters import Parameter
    from clsfit.registry import Offer, Plugins

Completer = Callable[[str], list[tuple[str, str]]]


_LONG = 16
"""Bounds from this length on say nothing to people, such as 2 to the 63rd."""

_METAVARS = frozenset({"name", "dir", "file", "key=value"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command that takes a configuration.

    Attributes:
        key: its place in the configuration's tree, ``("loss", "gamma")``.
        names: as written on the command line; the first is the one that help and messages use.
        label: the type, for help: ``float``, ``macro|micro``.
        panel: the help panel.
        help: one line, without markup.
        default: its text; None shows none.
        shape: ``value``, ``flag`` (--x, --no-x), ``switch`` (--x), ``many`` (repeatable), or a number of words.
        complete: proposes values and their help.
        bounds: ``>= 0``, for help.
        default_is: what the default is called.
    """

    key: tuple[str, ...]
    names: tuple[str, ...]
    label: str
    panel: str
    help: str
    default: str | None = None
    shape: Literal["value", "flag", "switch", "many"] | int = "value"
    complete: Completer | None = None
    bounds: str = ""
    default_is: str = "default"

    @property
    def identifier(self) -> str:
        """A Python name for it; no two options share one."""
        return "o_" + "__".join(re.sub(r"\W", lambda m: f"_{ord(m[0])}_", part) for part in self.key)

    def all_names(self) -> list[str]:
        """Every way to write it, ``--no-x`` included."""
        negative = ["--no-" + name[2:] for name in self.names if self.shape == "flag" and name.startswith("--")]
        return [*self.names, *negative]

    def is_in(self, names: Collection[str]) -> bool:
        """Whether ``names`` (of :func:`possible_names`) have one of its own."""
        return any(_plain(name) in names for name in self.all_names())

    def row(self) -> tuple[str, str, str, str]:
        """Name, type, default and help, for listings."""
        kind = self.label + (f" {self.bounds}" if self.bounds else "")
        return self.names[0], kind, "" if self.default is None else f"[{self.default}]", self.help

    def parameter(self, *, taken: bool = True) -> inspect.Parameter:
        """The parameter of a command's function from which Typer makes the option.

        Args:
            taken: False if the arguments do not name it: it is never parsed, and may be a switch. Typer
                builds a validator for each option that takes a value, given or not.
        """
        names = list(self.names)
        kind: Any = str | None
        default: Any = None
        if self.shape == "flag":
            names = [f"{name}/--no-{name[2:]}" if name.startswith("--") else name for name in names]
            kind = bool | None
        elif self.shape == "switch":
            kind, default = bool, False
        elif self.shape == "many":
            kind = list[str] | None
        elif isinstance(self.shape, int):
            kind = tuple[(str,) * self.shape] | None  # type: ignore[misc]
        if not taken:
            kind, default = bool, False
        option = typer.Option(
            *names,
            metavar=f"<{self.label}>" if self.label in _METAVARS else "",
            help=self._help(),
            rich_help_panel=printable(self.panel),
            show_default=False,
            autocompletion=self.complete,
        )
        return inspect.Parameter(
            self.identifier, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )

    def _help(self) -> str:
        default = self.default
        if self.shape == "flag":
            default = {"true": "on", "false": "off"}.get(default or "", default)
        # Types stand behind the help: a column of them would leave long names and help no room at 80 characters.
        label = "" if self.label in _METAVARS or self.shape in {"flag", "switch"} else self.label
        kind = " ".join(part for part in (label, self.bounds) if part)
        facts = [fact for fact in (kind, default and f"{self.default_is}: {default}") if fact]
        text = escape(self.help)
        if 2 * len(self.names[0]) + 13 > typer.get_terminal_size().columns:  # the name will be cut there
            text = f"[bold]{self.key[-1]}[/]: {text}"
        return text + (f" [dim]\\[{escape('; '.join(facts))}][/dim]" if facts else "")


def escape(text: str) -> str:
    """``text`` so that square brackets and control characters are shown instead of obeyed."""
    return re.sub(r"\[(?=[a-z#/@][^\[]*\])", r"\\[", printable(text))


def from_parameter(parameter: Parameter, key: tuple[str, ...], names: tuple[str, ...], panel: str) -> Option:
    """The option that sets a parameter."""
    default = None if parameter.default is MISSING or parameter.default is None else text_of(parameter.default)
    return Option(
        key=key,
        names=names,
        label=parameter.type_text.removesuffix(" or none").removesuffix(" or auto").replace(" or ", "|"),
        panel=panel,
        help=parameter.help,
        default=default,
        shape=_shape(parameter.type),
        complete=_literal_completer(parameter.type),
        bounds=", ".join(bound for bound in parameter.bounds.split(", ") if len(bound) < _LONG),
    )


def of_component(offer: Offer, name: str, given: Mapping[str, str] | None = None) -> list[Option]:
    """The options of a component.

    Args:
        offer: the component.
        name: how the user names it: bare, or ``provider:name``.
        given: parameters that a recipe or a file sets, as texts; they stand where the defaults stood.

    Raises:
        PluginError: it has no ``params`` and its target cannot be imported.
    """
    from clsfit.parameters import parameters_of

    slot = "data" if offer.kind == "dataset" else offer.kind
    key = (slot, name) if slot in REPEATABLE else (slot,)
    prefix = "--" + ".".join(key)
    made = []
    for parameter in parameters_of(offer):
        option = from_parameter(parameter, (*key, parameter.name), (f"{prefix}.{parameter.name}",), f"{slot}: {name}")
        made.append(replace(option, default=(given or {}).get(parameter.name, option.default)))
    return made


def text_of(value: Any) -> str:
    """A default as a user would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(text_of(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union but None; else the hint itself."""
    if get_origin(hint) in (Union, types.UnionType):
        return [part for part in get_args(hint) if part is not types.NoneType]
    return [hint]


def _shape(hint: Any) -> Literal["value", "flag"] | int:
    """How many words an option takes: a fixed tuple that cannot be None takes its length."""
    members = _alternatives(hint)
    if members == [bool]:
        return "flag"
    args = get_args(hint)
    if get_origin(hint) is tuple and len(args) > 1 and ... not in args:
        return len(args)
    return "value"


def _literal_completer(hint: Any) -> Completer | None:
    values = [text_of(v) for part in _alternatives(hint) if get_origin(part) is Literal for v in get_args(part)]
    return completer([(value, "") for value in values]) if values else None


def completer(values: Iterable[tuple[str, str]]) -> Completer:
    """Proposes those of ``values`` (with their help) that begin as typed."""
    known = list(values)
    return lambda incomplete: [pair for pair in known if pair[0].startswith(incomplete)]


def possible_names(arguments: Collection[str]) -> set[str]:
    """Every option that ``arguments`` may name: ``--lr=1`` is ``--lr``, ``-qoD`` may be ``-q``, ``-o``, ``-D``."""
    long = {_plain(word.partition("=")[0]) for word in arguments if word.startswith("--")}
    return long | {f"-{letter}" for word in arguments if word[:1] == "-" for letter in word[1:]}


def split_tuples(arguments: Sequence[str], known: Iterable[Option]) -> list[str]:
    """``--optimizer.betas 0.9,0.99`` as ``--optimizer.betas 0.9 0.99``, which is what Typer takes."""
    sizes = {_plain(name): option.shape for option in known for name in option.names if isinstance(option.shape, int)}
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        size = sizes.get(_plain(name))
        if size is None:
            out.append(argument)
            continue
        first = value if equals else next(rest, None)
        parts = [] if first is None else first.strip("()[]").split(",")
        out += (
            [name, *(part.strip() for part in parts)]
            if len(parts) == size
            else [argument, *([] if equals or first is None else [first])]
        )
    return out


def check(
    arguments: Sequence[str],
    known: Collection[Option],
    plugins: Plugins,
    selected: Collection[Offer],
    command: str = "train",
) -> None:
    """Refuses an unknown long option of ``command``, and says which one was meant or what would make it known.

    Raises:
        ConfigError: there is one.
    """
    names = {_plain(name): name for option in known for name in option.all_names()}
    for argument in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        name = argument.partition("=")[0]
        if not name.startswith("--") or _plain(name) in names or name == "--help":
            continue
        slot, dot, rest = name[2:].removeprefix("no-").partition(".")
        if dot and slot in OFFERS:
            raise _unknown_plugin_option(name, slot, rest, names, plugins, selected)
        close = nearest(name, names.values())
        raise ConfigError(f"no such option {printable(name)}", "", _unquoted(close) or f"see: clsfit {command} --help")


def _unknown_plugin_option(
    name: str, slot: str, rest: str, names: dict[str, str], plugins: Plugins, selected: Collection[Offer]
) -> ConfigError:
    """The error for a dotted option that no selected component has."""
    component = rest.rpartition(".")[0]
    close = nearest(name, [known for known in names.values() if known.startswith(f"--{slot}.")])
    owners = {} if close and slot in REPEATABLE else _others(plugins, slot, component, selected)
    exact = next((owner for option, owner in owners.items() if _plain(option) == _plain(name)), None)
    if exact is not None:
        whose, remedy = _whose(slot, exact)
        return ConfigError(f"{printable(name)} belongs to {whose}, which is not selected", "", remedy)
    chosen = " and ".join(repr(plugins.short_name(offer)) for offer in selected if offer.kind == slot)
    hint = _unquoted(close)
    if not hint and (other := nearest(name, owners)):
        whose, remedy = _whose(slot, owners[other.split("'")[1]])
        hint = f"{_unquoted(other)} It belongs to {whose}: {remedy}"
    return ConfigError(
        f"no such option {printable(name)}",
        f"selected: {slot} {chosen}" if chosen else f"no {slot} is selected",
        hint or f"see: clsfit plugins list --kind {slot}",
    )


def _whose(slot: str, owners: Sequence[str]) -> tuple[str, str]:
    """Components of a slot, and what to do to select one of them."""
    return f"{slot} {' or '.join(map(repr, owners))}", f"add {' or '.join(f'--{slot} {owner}' for owner in owners)}"


def _others(plugins: Plugins, slot: str, component: str, selected: Collection[Offer]) -> dict[str, list[str]]:
    """The options that components which are not selected would have, and whose they are."""
    found: dict[str, list[str]] = {}
    for offer in plugins.offers(slot):
        params = offer.component.params
        if offer not in selected and params is not None and component in {"", offer.name}:
            prefix = f"--{slot}.{component}." if component else f"--{slot}."
            for field in fields(params):
                found.setdefault(prefix + field.name, []).append(plugins.short_name(offer))
    return found


def _plain(name: str) -> str:
    return name.replace("_", "-")


def _unquoted(hint: str) -> str:
    return hint.replace("'", "")
