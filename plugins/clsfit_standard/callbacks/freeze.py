"""Training a part of the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from clsfit import hookimpl
from clsfit.errors import ConfigError, printable

if TYPE_CHECKING:
    from torch import nn

    from clsfit.engine.run import Run


class Freeze:
    """Leaves some of the model's parameters as they are, for some epochs or for all.

    A frozen parameter has no gradient, so no optimizer moves or decays it. The core keeps normalisation
    layers whose parameters are frozen in evaluation, so that their statistics do not move either.

    Args:
        pattern: a regular expression that is searched in the parameters' names; what it finds is frozen.
            None: everything but the last layer.
        unfreeze_epoch: the epoch, counted from 1, from which on everything is trained, >= 2; None: never.
    """

    def __init__(self, pattern: str | None = None, unfreeze_epoch: int | None = None) -> None:
        self.pattern, self.unfreeze_epoch = pattern, unfreeze_epoch
        self._frozen: list[nn.Parameter] = []
        self._found: list[nn.Parameter] = []

    def check(self, run: Run) -> None:
        """Refuses an epoch that the run has not, and a pattern that finds nothing or everything."""
        if self.unfreeze_epoch is not None and self.unfreeze_epoch > run.epochs:
            raise ConfigError(
                f"the run has {run.epochs} epochs and would never unfreeze in epoch {self.unfreeze_epoch}",
                "option --callback.freeze.unfreeze_epoch",
                "give an epoch of the run, or leave the option out",
            )
        self._chosen(run.model)

    @hookimpl
    def on_fit_start(self, run: Run) -> None:
        if self._is_over(run):
            return
        self._found = self._chosen(run.model)
        self._freeze()
        numbers = sum(parameter.numel() for parameter in run.model.parameters())
        trained = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
        run.say(f"freeze: {numbers:,} parameters: {trained:,} trained, {numbers - trained:,} frozen")

    @hookimpl
    def on_epoch_start(self, run: Run) -> None:
        if not self._frozen or not self._is_over(run):
            return
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
        run.say(f"freeze: all parameters are trained from epoch {run.epoch + 1} on")

    def state_dict(self) -> dict[str, Any]:
        """Whether parameters are frozen."""
        return {"frozen": bool(self._frozen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Freezes again, where a run goes back to an epoch in which they were; a new run begins so by itself."""
        if state["frozen"]:
            self._freeze()

    def _freeze(self) -> None:
        for parameter in self._found:
            parameter.requires_grad_(False)
        self._frozen = self._found

    def _is_over(self, run: Run) -> bool:
        return self.unfreeze_epoch is not None and run.epoch + 1 >= self.unfreeze_epoch

    def _chosen(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters to freeze, of those that are trained.

        Raises:
            ConfigError: none, or all of them.
        """
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        if self.pattern is None:
            owners = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
            last = {id(parameter) for parameter in owners[-1].parameters()} if owners else set()
            chosen = [parameter for parameter in named.values() if id(parameter) not in last]
        else:
            chosen = [parameter for name, parameter in named.items() if re.search(self.pattern, name)]
        if chosen and len(chosen) < len(named):
            return chosen
        what = "all parameters, and nothing would be trained" if chosen else "no parameter"
        names = list(named)
        raise ConfigError(
            f"freeze finds {what}",
            "option --callback.freeze.pattern" + (f" {printable(self.pattern)}" if self.pattern is not None else ""),
            f"the model has {len(names)}, such as {', '.join(map(printable, [*names[:2], *names[2:][-2:]]))}",
        )
