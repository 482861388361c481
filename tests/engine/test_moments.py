"""Callbacks are told in the order of the configuration, and a failing one is named."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from clsfit import hookimpl
from clsfit.engine.moments import CallbackHooks
from clsfit.errors import ConfigError, PluginError
from clsfit.hookspecs import Moments


class Teller:
    def __init__(self, name: str, heard: list[str], error: Exception | None = None) -> None:
        self.name, self.heard, self.error = name, heard, error

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        self.heard.append(self.name)
        if self.error:
            raise self.error

    @hookimpl
    def on_fit_end(self) -> None:  # may name fewer arguments
        self.heard.append(f"end {self.name}")
        if self.error:
            raise self.error


def test_order_is_the_configuration_s() -> None:
    heard: list[str] = []
    hooks = CallbackHooks({name: Teller(name, heard) for name in ("b", "a", "c")})
    tell = hooks.teller("on_step_end")
    assert tell is not None
    tell(run=None)
    assert heard == ["b", "a", "c"]


def test_each_is_told_what_it_names() -> None:
    heard: list[Any] = []

    class Nothing:
        @hookimpl
        def on_error(self) -> None:
            heard.append(())

    class Error:
        @hookimpl
        def on_error(self, error: BaseException) -> None:
            heard.append(error)

    class Both:
        @hookimpl
        def on_error(self, error: BaseException, run: Any) -> None:  # in an order of its own
            heard.append((run, error))

    tell = CallbackHooks({"nothing": Nothing(), "error": Error(), "both": Both()}).teller("on_error")
    assert tell is not None
    error = ValueError("e")
    tell(run="run", error=error)
    assert heard == [(), error, ("run", error)]


def test_order_that_an_implementation_asks_for() -> None:
    heard: list[str] = []

    class Last:
        @hookimpl(trylast=True)
        def on_step_end(self) -> None:
            heard.append("last")

    class First:
        @hookimpl(tryfirst=True)
        def on_step_end(self) -> None:
            heard.append("first")

    tell = CallbackHooks({"z": Last(), "a": Teller("a", heard), "b": First()}).teller("on_step_end")
    assert tell is not None
    tell(run=None)
    assert heard == ["first", "a", "last"]


def test_a_wrapper_is_around_the_others() -> None:
    heard: list[str] = []

    class Around:
        @hookimpl(wrapper=True)
        def on_step_end(self, run: Any) -> Generator[None, None, None]:
            heard.append("before")
            try:
                return (yield)
            finally:
                heard.append("after")

    tell = CallbackHooks({"a": Teller("a", heard), "around": Around()}).teller("on_step_end")
    assert tell is not None
    tell(run=None)
    assert heard == ["before", "a", "after"]

    bad = CallbackHooks({"around": Around(), "bad": Teller("bad", heard, ValueError("no bell"))})
    tell = bad.teller("on_step_end")
    assert tell is not None
    with pytest.raises(PluginError, match=r"callback 'bad' failed in on_step_end: ValueError: no bell"):
        tell(run=None)
    tell = CallbackHooks({"around": Around(), "bad": Teller("bad", heard, ConfigError("wrong"))}).teller("on_step_end")
    assert tell is not None
    with pytest.raises(ConfigError, match="wrong"):
        tell(run=None)


def test_nobody_listens_costs_nothing() -> None:
    hooks = CallbackHooks({"a": Teller("a", [])})
    assert hooks.teller("on_gradients") is None
    assert CallbackHooks({}).teller("on_step_end") is None


def test_a_failing_callback_is_named() -> None:
    heard: list[str] = []
    callbacks = {"good": Teller("good", heard), "bad": Teller("bad", heard, ValueError("no bell"))}
    tell = CallbackHooks(callbacks).teller("on_step_end")
    assert tell is not None
    with pytest.raises(PluginError, match=r"callback 'bad' failed in on_step_end: ValueError: no bell"):
        tell(run=None)

    class Bell:
        @hookimpl
        def on_step_end(self, run: Any) -> None:
            raise RuntimeError("rope")

    tell = CallbackHooks({"good": Teller("good", heard), "bell": Bell()}).teller("on_step_end")
    assert tell is not None
    with pytest.raises(PluginError, match=r"callback 'bell' failed in on_step_end: RuntimeError: rope"):
        tell(run=None)


def test_expected_errors_pass_unchanged() -> None:
    tell = CallbackHooks({"a": Teller("a", [], ConfigError("wrong monitor"))}).teller("on_step_end")
    assert tell is not None
    with pytest.raises(ConfigError, match="wrong monitor"):
        tell(run=None)


def test_closing_moments_reach_everyone() -> None:
    heard: list[str] = []
    callbacks = {"a": Teller("a", heard, ValueError("x")), "b": Teller("b", heard), "c": Teller("c", heard)}
    failures = CallbackHooks(callbacks).tell_all("on_fit_end", run=None)
    assert heard == ["end a", "end b", "end c"]
    assert failures == ["callback 'a' failed in on_fit_end: ValueError: x"]


def test_a_misspelt_moment_is_refused() -> None:
    class Misspelt:
        @hookimpl
        def on_epoch_ends(self, run: Any) -> None: ...

    with pytest.raises(PluginError, match="on_epoch_ends"):
        CallbackHooks({"late": Misspelt()})


def test_a_wrong_argument_is_refused() -> None:
    class Wrong:
        @hookimpl
        def on_epoch_end(self, trainer: Any) -> None: ...

    with pytest.raises(PluginError, match="trainer"):
        CallbackHooks({"wrong": Wrong()})


def test_every_moment_can_be_told() -> None:
    moments = [name for name in vars(Moments) if name.startswith("on_")]
    assert len(moments) == 7
    heard: list[str] = []
    methods = {name: hookimpl(lambda self, run, name=name: heard.append(name)) for name in moments}
    listener = type("Listener", (), {n: hookimpl(_listener(n, heard)) for n in methods})()
    hooks = CallbackHooks({"all": listener})
    for name in moments:
        tell = hooks.teller(name)
        assert tell is not None
        tell(run=None, **({"error": ValueError()} if name == "on_error" else {}))
    assert heard == moments


def _listener(name: str, heard: list[str]) -> Any:
    def listen(self: Any, run: Any) -> None:
        heard.append(name)

    return listen
