from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from clsfit import Component, hookimpl


@dataclass(frozen=True)
class Options:
    order: Annotated[int, "terms of the series; 1 is 1 - p", Ge(1)] = 2


@hookimpl
def clsfit_losses() -> list[Component]:
    return [Component("taylor", "clsfit_taylor.loss:Taylor", "cross entropy cut short, for wrong labels", Options)]
