"""Parameters from dataclasses and signatures, and values checked against them."""

from __future__ import annotations

import math
import sys
import types
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Le, Lt
from hypothesis import given
from hypothesis import strategies as st

from clsfit.errors import ConfigError, PluginError
from clsfit.hookspecs import Component
from clsfit.parameters import Parameter, Text, coerce, free_on_resume, match, parameters_of, schema_of, validate
from clsfit.registry import Offer
from clsfit.signatures import signature_parameters


@dataclass
class Options:
    free_on_resume: ClassVar[frozenset[str]] = frozenset({"every"})
    gamma: Annotated[float, "the focus", Ge(0), Lt(10)] = 2.0
    every: Annotated[int | None, "steps", Ge(1)] = None
    mode: Annotated[Literal["macro", "micro"], "averaging"] = "macro"
    betas: Annotated[tuple[Annotated[float, Ge(0)], float], "decays"] = (0.9, 0.999)
    sizes: Annotated[tuple[int, ...], "of the layers"] = field(default_factory=lambda: (8, 8))
    flag: Annotated[bool, "a switch"] = False
    tag: Annotated[str, "free text"] = ""
    place: Annotated[Path | None, "a file"] = None
    either: Annotated[int | str, "a count or a word"] = "all"

    def __post_init__(self) -> None:
        if self.flag and self.gamma == 0:
            raise ValueError("flag needs a gamma above 0")


@dataclass
class Required:
    rate: Annotated[float, "must be said", Le(1)]


def offer(params: type[Any] | None = Options, target: str = "not_there:Loss") -> Offer:
    return Offer("loss", Component("focal", target, "help", params), "x", "clsfit-x", "1")


def text(value: str, meaning: Any) -> Text:
    return Text(value, meaning)


def test_a_dataclass_gives_types_defaults_help_and_bounds_without_the_target() -> None:
    gamma, every, _, betas, sizes, *_ = parameters_of(offer())
    assert (gamma.name, gamma.type, gamma.default, gamma.help) == ("gamma", float, 2.0, "the focus")
    assert (gamma.bounds, gamma.type_text) == (">= 0, < 10", "float")
    assert (every.optional, every.type_text) == (True, "int or none")
    assert (betas.type_text, sizes.type_text, sizes.default) == ("float,float", "int,...", (8, 8))
    assert free_on_resume(offer()) == {"every"}


def test_defaults_are_filled_in() -> None:
    values = validate(offer(), {}, "--loss")
    assert values["gamma"] == 2.0
    assert list(values) == [
        "gamma",
        "every",
        "mode",
        "betas",
        "sizes",
        "flag",
        "tag",
        "place",
        "either",
        "class_weights",
    ]


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("gamma", 3, 3.0),
        ("gamma", "1e-3", 1e-3),
        ("gamma", text("1e-3", 1e-3), 1e-3),
        ("every", "none", None),
        ("every", text("null", None), None),
        ("every", text("7", 7), 7),
        ("betas", [0.8, 1], (0.8, 1.0)),
        ("betas", text("0.8,0.99", "0.8,0.99"), (0.8, 0.99)),
        ("betas", ["0.8", "0.99"], (0.8, 0.99)),
        ("sizes", text("64", 64), (64,)),
        ("sizes", [], ()),
        ("flag", text("yes", "yes"), True),
        ("flag", False, False),
        ("tag", text("3", 3), "3"),
        ("tag", text("true", True), "true"),
        ("place", text("3", 3), Path("3")),
        ("either", text("3", 3), 3),
        ("either", "3", "3"),
        ("either", text("few", "few"), "few"),
    ],
)
def test_values_are_read_by_type(key: str, written: Any, meant: Any) -> None:
    result = validate(offer(), {key: written}, "--loss")[key]
    assert result == meant
    assert type(result) is type(meant)


@pytest.mark.parametrize(
    ("key", "written", "reason"),
    [
        ("gamma", -1, "greater than or equal to 0"),
        ("gamma", 10, "less than 10"),
        ("gamma", "high", "valid number"),
        ("gamma", True, "not allowed"),
        ("gamma", math.nan, "not allowed"),
        ("gamma", None, "valid number"),
        ("every", 1.5, "valid integer"),
        ("mode", "mean", "'macro' or 'micro'"),
        ("betas", [0.9], "missing"),
        ("betas", [-0.9, 1], "greater than or equal to 0"),
        ("tag", 3, "valid string"),
        ("flag", text("perhaps", "perhaps"), "boolean"),
    ],
)
def test_values_that_do_not_fit_are_usage_errors_that_name_the_option(key: str, written: Any, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(offer(), {key: written}, "--loss", {key: "base.yaml:3"})
    what, where, remedy = str(caught.value).splitlines()
    assert what.startswith(f"--loss.{key}: ")
    assert reason in what
    assert where == "base.yaml:3"
    assert remedy.startswith("expected ")


def test_an_unknown_key_has_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"(?s)no parameter 'gama'.*Did you mean '--loss\.gamma'"):
        validate(offer(), {"gama": 1}, "--loss")
    with pytest.raises(ConfigError, match="its parameters: gamma, every"):
        validate(offer(), {"zzz": 1}, "--loss")


def test_what_the_dataclass_refuses_names_the_field() -> None:
    with pytest.raises(ConfigError, match=r"--loss\.gamma: flag needs a gamma above 0"):
        validate(offer(), {"flag": True, "gamma": 0}, "--loss")


def test_a_parameter_without_default_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"--loss\.rate must be given"):
        validate(offer(Required), {}, "--loss")
    assert validate(offer(Required), {"rate": "0.5"}, "--loss") == {"rate": 0.5, "class_weights": None}


def test_hyphens_stand_for_underscores() -> None:
    assert match("T-max", ["T_max", "t_max"]) == "T_max"
    assert match("t_MAX", ["T_max"]) is None
    assert match("t_MAX", ["T_max"], any_case=True) == "T_max"


@given(st.floats(0, 9.99), st.none() | st.integers(1), st.text(max_size=5), st.lists(st.integers(), max_size=3))
def test_validation_changes_nothing_that_it_accepted(gamma: float, every: Any, tag: str, sizes: list[int]) -> None:
    once = validate(offer(), {"gamma": gamma, "every": every, "tag": tag, "sizes": sizes}, "--loss")
    assert (once["gamma"], once["every"], once["tag"], once["sizes"]) == (gamma, every, tag, tuple(sizes))
    assert validate(offer(), once, "--loss") == once


class Tensor:
    """Stands for a type that cannot be written in a configuration."""


class Strange:
    """Strange loss.

    Args:
        gamma: how strange. It is explained at
            length.
        betas (tuple): two decays
        mode: which way

    Raises:
        ValueError: never.
    """

    def __init__(
        self,
        num_classes: int,
        gamma: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float] = (0.9, 0.99),
        foreach: bool | None = None,
        mode: Literal["a", "b"] = "a",
        untyped=4,
        late: int = None,  # noqa: RUF013 (as torch writes it)
        weight: Tensor | None = None,
        layer: type = Tensor,
        *args: int,
        size: list[int] = (),
        **kwargs: int,
    ) -> None: ...


def test_a_signature_gives_the_options_that_can_be_written() -> None:
    found = {p.name: p for p in signature_parameters(Strange)}
    assert list(found) == ["gamma", "betas", "foreach", "mode", "untyped", "late", "weight", "size"]
    assert {name: p.type_text for name, p in found.items()} == {
        "gamma": "float",
        "betas": "float,float",
        "foreach": "true|false or none",
        "mode": "a|b",
        "untyped": "int",
        "late": "int or none",
        "weight": "value",
        "size": "int,...",
    }
    assert [found[n].help for n in ("gamma", "betas", "mode", "foreach")] == [
        "how strange",
        "two decays",
        "which way",
        "",
    ]


def test_without_params_the_target_is_imported_and_its_signature_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("strange_module")
    module.Strange = Strange  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "strange_module", module)
    strange = offer(None, "strange_module:Strange")
    values = validate(strange, {"gamma": "3", "weight": text("[1, 2]", [1, 2])}, "--loss")
    assert (values["gamma"], values["weight"], values["foreach"]) == (3.0, [1, 2], None)
    with pytest.raises(ConfigError, match="no parameter 'num_classes'"):
        validate(strange, {"num_classes": 3}, "--loss")


def test_without_params_a_broken_target_is_exit_8() -> None:
    with pytest.raises(PluginError, match="not_there"):
        parameters_of(offer(None))


def test_annotations_that_cannot_be_read_are_the_plugins_fault() -> None:
    @dataclass
    class Wrong:
        size: NotThere = 1  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(PluginError, match="NotThere"):
        parameters_of(offer(Wrong))


def test_the_schema_knows_type_and_bounds() -> None:
    gamma, *_ = parameters_of(offer())
    assert schema_of(gamma) == {"type": "number", "minimum": 0, "exclusiveMaximum": 10}
    assert schema_of(Parameter("x", Tensor, None, "")) == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{cat: 2", "it should be 'balanced', 'effective' or 'sqrt' or a valid dictionary"),
        (2, "it should be 'balanced', 'effective' or 'sqrt' or a valid dictionary"),
        ({"cat": -1}, "it should be greater than or equal to 0"),
    ],
)
def test_a_complaint_about_a_union_names_all_its_alternatives_or_goes_into_one(value: object, said: str) -> None:
    weights = next(p for p in parameters_of(offer()) if p.name == "class_weights")
    with pytest.raises(ConfigError) as caught:
        coerce(weights, value, "--x")
    assert str(caught.value).splitlines()[0].endswith(f"does not fit: {said}")


def test_a_type_of_the_plugins_own_takes_any_value() -> None:
    assert coerce(Parameter("x", Tensor, MISSING, ""), [1, "a"], "--x") == [1, "a"]


def test_the_core_adds_options_by_kind_that_a_component_may_keep_to_itself() -> None:
    @dataclass(frozen=True)
    class Keeps:
        class_weights: Annotated[float, "its own"] = 1.0

    assert [p.name for p in parameters_of(offer(Keeps))] == ["class_weights"]
    assert parameters_of(offer(Keeps))[0].help == "its own"
    assert [p.name for p in parameters_of(offer(Required))] == ["rate", "class_weights"]
    weights = {1: 2, "on": "0.5"}
    assert validate(offer(), {"class_weights": weights}, "--loss")["class_weights"] == {"1": 2.0, "on": 0.5}
    metric = Offer("metric", Component("f1", "not_there:F1", "help", Required), "x", "clsfit-x", "1")
    assert [p.name for p in parameters_of(metric)] == ["rate"]
