"""From a selected component to its object. No torch here, but in what the component itself imports."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from clsfit.config import Selection
from clsfit.contracts import FILLED
from clsfit.errors import ClsfitError, PluginError
from clsfit.parameters import added_parameters, own_parameters
from clsfit.registry import Offer
from clsfit.shortage import shortage

_OWED: dict[str, tuple[str, ...]] = {
    "optimizer": ("param_groups", "step", "zero_grad", "state_dict", "load_state_dict"),
    "scheduler": ("step", "state_dict", "load_state_dict"),
    "metric": ("higher_is_better", "update", "compute"),
    "sampler": ("order",),
    "dataset": ("table", "read"),
}
"""Members without which a run would fail later, where nobody knows whose they were."""


def make(selection: Selection, filled: Mapping[str, Any]) -> Any:
    """Calls a component's factory with its options and with what the core fills in.

    Raises:
        PluginError: the target cannot be imported, or its factory raised.
    """
    return maker(selection, filled)()


def maker(selection: Selection, filled: Mapping[str, Any]) -> Callable[[], Any]:
    """:func:`make` for as many objects as are wanted: what the factory takes is looked up once."""
    offer, factory, options = selection.offer, selection.offer.load(), own_options(selection)
    listed: dict[str, Any] | None = None

    def build() -> Any:
        nonlocal listed
        try:
            if listed is None:
                listed = _listed(offer, factory, filled)
            thing = factory(**options, **listed)
        except ClsfitError:
            raise
        except (Exception, SystemExit) as error:
            if scarce := shortage(error):
                raise scarce from error
            raise PluginError(
                f"{offer.kind} {offer.name!r} cannot be built: {type(error).__name__}: {error}",
                f"of {offer.distribution} {offer.version}",
                "check its options with: clsfit plugins show " + offer.name,
            ) from error
        lacking = [name for name in _OWED.get(offer.kind, ()) if not hasattr(thing, name)]
        if lacking:
            raise broken(offer, f"its {type(thing).__name__} has no {', '.join(lacking)}")
        return thing

    return build


def _listed(offer: Offer, factory: Callable[..., Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``filled`` the factory's signature lists."""
    names = FILLED & inspect.signature(factory).parameters.keys()
    missing = sorted(name for name in names if name not in filled)
    if missing:
        raise TypeError(f"a {offer.kind} gets no {', '.join(missing)}")
    return {name: filled[name] for name in names}


def own_options(selection: Selection) -> dict[str, Any]:
    """The options that the component's factory takes, without those of :mod:`clsfit.added`."""
    own = [parameter.name for parameter in own_parameters(selection.offer)]
    added = {parameter.name for parameter in added_parameters(selection.offer.kind, own)}
    return {name: value for name, value in selection.params.items() if name not in added}


def added_option(selection: Selection, name: str) -> Any:
    """The value of an option of :mod:`clsfit.added`; None too where the component has one of that name itself."""
    return None if name in own_options(selection) else selection.params.get(name)


def broken(offer: Offer, reason: str) -> PluginError:
    """The error for a component that does not keep its contract."""
    return PluginError(
        f"{offer.kind} {offer.name!r}: {reason}",
        f"of {offer.distribution} {offer.version}",
        "see clsfit.contracts for what a component owes",
    )
