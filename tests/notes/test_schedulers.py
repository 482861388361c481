"""The course notes' schedulers: each of their bugs as a law.

A test writes the notes' formula down, states what must hold once, as ``law(implementation)``, and
asserts that it holds for clsfit's scheduler and is red on the notes' formula: so every test shows
itself red.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from clsfit_standard.schedulers.constant import Constant
from clsfit_standard.schedulers.decay import Cosine, Linear
from clsfit_standard.schedulers.onecycle import OneCycle
from clsfit_standard.schedulers.plateau import Plateau
from clsfit_standard.schedulers.step import Step
from torch.optim import lr_scheduler

BASE = 0.1
EPOCHS = 6

Rates = Callable[[int], list[float]]
"""``steps of an epoch -> the rate of every optimizer step of EPOCHS epochs``."""


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def ours(build: Callable[[Any, int, int], Any]) -> Rates:
    """The rates of ``build(optimizer, total_steps, steps_per_epoch)``, told each optimizer step."""

    def rates(steps_per_epoch: int) -> list[float]:
        theirs = optimizer()
        scheduler = build(theirs, EPOCHS * steps_per_epoch, steps_per_epoch)
        found = []
        for _ in range(EPOCHS * steps_per_epoch):
            found.append(theirs.param_groups[0]["lr"])
            theirs.step()
            scheduler.step()
        return found

    return rates


def notes(build: Callable[[Any], Any], each: str) -> Rates:
    """The rates of ``build(optimizer)`` with the notes' ``lr_scheduler.step()`` in each step or each epoch."""

    def rates(steps_per_epoch: int) -> list[float]:
        theirs = optimizer()
        scheduler = build(theirs)
        found = []
        for _ in range(EPOCHS):
            for _ in range(steps_per_epoch):
                found.append(theirs.param_groups[0]["lr"])
                theirs.step()
                if each == "step":
                    scheduler.step()
            if each == "epoch":
                scheduler.step()
        return found

    return rates


def test_the_unit_of_steps_is_in_the_options_name() -> None:
    """The notes lower the rate "every N steps": of the optimizer, or epochs? It depends on who calls."""

    def of_epochs(rates: Rates) -> None:
        for steps in (3, 5):
            assert rates(steps) == pytest.approx([BASE * 0.1 ** (t // (2 * steps)) for t in range(EPOCHS * steps)])

    def of_optimizer_steps(rates: Rates) -> None:
        for steps in (3, 5):
            assert rates(steps) == pytest.approx([BASE * 0.1 ** (t // 2) for t in range(EPOCHS * steps)])

    def every_2(theirs: Any) -> Any:
        return lr_scheduler.StepLR(theirs, step_size=2, gamma=0.1)

    of_epochs(ours(lambda o, total, epoch: Step(o, total, epoch, every_epochs=2)))
    of_optimizer_steps(ours(lambda o, total, epoch: Step(o, total, epoch, every_steps=2)))
    with pytest.raises(AssertionError):
        of_epochs(notes(every_2, "step"))
    with pytest.raises(AssertionError):
        of_optimizer_steps(notes(every_2, "epoch"))


@pytest.mark.parametrize("build", [Cosine, Linear])
def test_a_decay_escapes_no_minimum(build: Any) -> None:
    """The notes say that the cosine changes suddenly and so escapes minima: those are warm restarts.

    With a T_max of less than the run, which they never show, torch's goes up again.
    """

    def law(rates: Rates) -> None:
        for steps in (3, 5):
            found = rates(steps)
            assert found == sorted(found, reverse=True)
            assert found[-1] < BASE / 5

    law(ours(build))
    for each, period in (("step", 10), ("epoch", 3)):
        with pytest.raises(AssertionError):
            law(notes(lambda o, period=period: lr_scheduler.CosineAnnealingLR(o, T_max=period), each))


def test_a_decay_ends_with_the_run() -> None:
    """A T_max in epochs, stepped in each optimizer step, or the other way round, ends elsewhere."""

    def law(rates: Rates) -> None:
        for steps in (3, 5):
            found, total = rates(steps), EPOCHS * steps
            assert found[total // 6] > BASE * 0.8
            assert found[total // 2] == pytest.approx(BASE / 2, rel=0.2)
            assert 0 < found[-1] < BASE / 10

    law(ours(Cosine))
    law(ours(Linear))
    for each, period in (("step", EPOCHS), ("epoch", EPOCHS * 5)):
        with pytest.raises(AssertionError):
            law(notes(lambda o, period=period: lr_scheduler.CosineAnnealingLR(o, T_max=period), each))


@pytest.mark.parametrize(
    "build",
    [
        lambda o, total, epoch: Constant(o, epoch, warmup_epochs=2),
        lambda o, total, epoch: Cosine(o, total, epoch, warmup_epochs=2),
        lambda o, total, epoch: Linear(o, total, epoch, warmup_epochs=2),
        lambda o, total, epoch: Step(o, total, epoch, warmup_epochs=2),
        lambda o, total, epoch: OneCycle(o, total, epoch, warmup_epochs=2),
        lambda o, total, epoch: Plateau(o, epoch, warmup_epochs=2),
    ],
    ids=["constant", "cosine", "linear", "step", "onecycle", "plateau"],
)
def test_each_warms_up(build: Any) -> None:
    """The notes' schedulers begin with the full rate."""

    def law(rates: Rates) -> None:
        for steps in (3, 5):
            found = rates(steps)
            rising = found[: 2 * steps]
            assert rising == sorted(rising)
            assert rising[0] < BASE / 4
            assert rising[-1] == max(found) == pytest.approx(BASE)

    law(ours(build))
    for notes_build in (
        lambda o: lr_scheduler.StepLR(o, step_size=2, gamma=0.1),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS),
    ):
        with pytest.raises(AssertionError):
            law(notes(notes_build, "epoch"))


def test_plateau_takes_the_loops_bare_step_and_judges_a_value() -> None:
    """The notes' loop calls ``lr_scheduler.step()`` whatever the scheduler; torch's plateau needs the metric."""

    def law(build: Callable[[Any], Any]) -> None:
        theirs = optimizer()
        scheduler = build(theirs)
        for _ in range(3):  # epochs
            for _ in range(2):
                theirs.step()
                scheduler.step()
            assert theirs.param_groups[0]["lr"] == BASE  # an optimizer step is no epoch without improvement
        for value in (0.5, 0.6, 0.6):
            scheduler.step(value)
        assert theirs.param_groups[0]["lr"] == pytest.approx(BASE / 10)

    law(lambda o: Plateau(o, 2, patience=2))
    with pytest.raises(TypeError):
        law(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1))
