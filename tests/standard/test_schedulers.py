"""Schedulers against torch's, on a real optimizer and on a bare object with groups."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clsfit_standard.offers import schedulers as offers
from clsfit_standard.optimizers.sgd import SGD
from clsfit_standard.schedulers.constant import Constant
from clsfit_standard.schedulers.decay import Cosine, Linear
from clsfit_standard.schedulers.onecycle import OneCycle
from clsfit_standard.schedulers.plateau import Plateau
from clsfit_standard.schedulers.step import Step
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

BASES = (0.3, 0.02)


def groups() -> Any:
    return SimpleNamespace(param_groups=[{"lr": base} for base in BASES])


def theirs() -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": base} for base in BASES], lr=1.0)


def rates(optimizer: Any) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def expected_rates(scheduler: Any, optimizer: Any, steps: int) -> list[list[float]]:
    found = [rates(optimizer)]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(rates(optimizer))
    return found


def our_rates(scheduler: Any, optimizer: Any, steps: int) -> list[list[float]]:
    found = [rates(optimizer)]
    for _ in range(steps):
        scheduler.step()
        found.append(rates(optimizer))
    return found


def assert_same(ours: list[list[float]], expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        torch.tensor(ours, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("min_lr", [0.0, 0.001])
def test_cosine_is_torchs(min_lr: float) -> None:
    reference, optimizer = theirs(), groups()
    expected = expected_rates(lr_scheduler.CosineAnnealingLR(reference, T_max=50, eta_min=min_lr), reference, 50)
    assert_same(our_rates(Cosine(optimizer, 50, 10, min_lr=min_lr), optimizer, 50), expected)
    assert rates(optimizer) == [pytest.approx(min_lr, abs=1e-15)] * 2


@pytest.mark.parametrize("options", [{"warmup_steps": 10}, {"warmup_epochs": 2.0}, {"warmup_epochs": 2}])
def test_warm_up_then_cosine_is_torchs(options: dict[str, Any]) -> None:
    reference, optimizer = theirs(), groups()
    parts = [
        lr_scheduler.LinearLR(reference, start_factor=1 / 10, total_iters=9),
        lr_scheduler.CosineAnnealingLR(reference, T_max=40),
    ]
    chained = lr_scheduler.SequentialLR(reference, parts, milestones=[10])
    assert_same(our_rates(Cosine(optimizer, 50, 5, **options), optimizer, 50), expected_rates(chained, reference, 50))


@pytest.mark.parametrize("min_lr", [0.0, 0.001])
def test_linear_is_torchs(min_lr: float) -> None:
    for base in BASES:
        reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        optimizer = SimpleNamespace(param_groups=[{"lr": base}])
        chained = lr_scheduler.LinearLR(reference, start_factor=1.0, end_factor=min_lr / base, total_iters=50)
        found = our_rates(Linear(optimizer, 50, 10, min_lr=min_lr), optimizer, 55)
        assert_same(found, expected_rates(chained, reference, 55))
        assert found[49][0] > min_lr  # reached after the last step, not in it
        assert found[50] == [pytest.approx(min_lr, abs=1e-15)]


def test_warm_up_then_linear_is_torchs() -> None:
    reference, optimizer = theirs(), groups()
    parts = [
        lr_scheduler.LinearLR(reference, start_factor=1 / 10, total_iters=9),
        lr_scheduler.PolynomialLR(reference, total_iters=40, power=1.0),
    ]
    chained = lr_scheduler.SequentialLR(reference, parts, milestones=[10])
    ours = our_rates(Linear(optimizer, 50, 5, warmup_epochs=2.0), optimizer, 50)
    assert_same(ours, expected_rates(chained, reference, 50))


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({"every_steps": 7}, 7),
        ({"every_steps": 1}, 1),
        ({"every_epochs": 3.0}, 15),
        ({"every_epochs": 3}, 15),
        ({"every_epochs": 0.6}, 3),
        ({"every_epochs": 0.01}, 1),
        ({}, 20),
    ],
)
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_step_is_torchs(options: dict[str, Any], distance: int, factor: float) -> None:
    """torch's unit is whatever calls it, here the optimizer step; ours is in the option's name."""
    reference, optimizer = theirs(), groups()
    chained = lr_scheduler.StepLR(reference, step_size=distance, gamma=factor)
    ours = our_rates(Step(optimizer, 60, 5, factor=factor, **options), optimizer, 60)
    assert_same(ours, expected_rates(chained, reference, 60))


@settings(max_examples=100, deadline=None)
@given(tenths=st.integers(1, 50), steps_per_epoch=st.integers(1, 40), number=st.integers(1, 200))
@example(tenths=11, steps_per_epoch=25, number=1)
def test_drops_come_at_the_nearest_step(tenths: int, steps_per_epoch: int, number: int) -> None:
    """Also where a distance is no whole number of steps: the distances add up, their rounding does not."""
    optimizer = groups()
    scheduler = Step(optimizer, 1, steps_per_epoch, every_epochs=tenths / 10)
    exactly = number * max(10, tenths * steps_per_epoch)  # in tenths of a step
    scheduler.steps = -(-(exactly - 5) // 10)
    assert scheduler.rate(1.0) == pytest.approx(0.1**number)
    scheduler.steps -= 1
    assert scheduler.rate(1.0) == pytest.approx(0.1 ** (number - 1))


def test_steps_distances_begin_with_the_run_and_not_after_the_warm_up() -> None:
    optimizer = groups()
    found = our_rates(Step(optimizer, 12, 4, warmup_steps=4, every_steps=6), optimizer, 12)
    shares = [row[0] / BASES[0] for row in found]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("options", "given_options", "message"),
    [
        (offers.StepOptions, {"every_epochs": 1.0, "every_steps": 1}, "every_epochs and every_steps"),
        (offers.OneCycleOptions, {"rise": 0.2, "warmup_epochs": 1.0}, "rise and a warm-up"),
        (offers.OneCycleOptions, {"rise": 0.2, "warmup_steps": 1}, "rise and a warm-up"),
        (offers.OneCycleOptions, {"min_momentum": 0.9, "max_momentum": 0.8}, "min_momentum is above"),
        (offers.OneCycleOptions, {"cycle_momentum": False, "min_momentum": 0.8}, "without cycle_momentum"),
    ],
)
def test_contradictory_options_are_refused(options: Any, given_options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(**given_options)
    for name, value in given_options.items():
        if name not in ("min_momentum", "max_momentum"):
            assert getattr(options(**{name: value}), name) == value


@settings(max_examples=100, deadline=None)
@given(warmup=st.integers(0, 30), total=st.integers(1, 60), min_lr=st.floats(0, 1))
def test_rates_stay_between_0_and_base(warmup: int, total: int, min_lr: float) -> None:
    for build in (
        lambda o: Constant(o, 5, warmup_steps=warmup),
        lambda o: Cosine(o, total, 5, warmup_steps=warmup, min_lr=min_lr),
        lambda o: Linear(o, total, 5, warmup_steps=warmup, min_lr=min_lr),
        lambda o: Step(o, total, 5, warmup_steps=warmup),
        lambda o: Plateau(o, 5, warmup_steps=warmup, min_lr=min_lr),
    ):
        optimizer = groups()
        found = our_rates(build(optimizer), optimizer, total)
        for step, row in enumerate(found):
            for rate, base in zip(row, BASES, strict=True):
                assert 0 <= rate <= base * (1 + 1e-12)
                if step < warmup:
                    assert rate == pytest.approx(base * (step + 1) / warmup)


def test_constant_is_constant() -> None:
    optimizer = groups()
    assert our_rates(Constant(optimizer, 5), optimizer, 7) == [list(BASES)] * 8


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=60), patience=st.integers(1, 4))
def test_plateau_is_torchs(higher: bool, min_delta: float, values: list[float], patience: int) -> None:
    """torch waits for ``patience + 1`` epochs, clsfit for ``patience``."""
    reference, optimizer = theirs(), groups()
    expected = lr_scheduler.ReduceLROnPlateau(
        reference,
        mode="max" if higher else "min",
        factor=0.5,
        patience=patience - 1,
        threshold=min_delta,
        threshold_mode="abs",
        min_lr=0.01,
        eps=0.0,
    )
    scheduler = Plateau(optimizer, 1, factor=0.5, patience=patience, min_delta=min_delta, min_lr=0.01)
    scheduler.higher_is_better = higher
    for value in values:
        expected.step(value)
        scheduler.step()
        scheduler.step(value)
        assert rates(optimizer) == pytest.approx(rates(reference), rel=1e-12)


def test_plateau_lowers_after_exactly_patience_epochs() -> None:
    optimizer = groups()
    scheduler = Plateau(optimizer, 10, patience=3)
    seen = []
    for value in (1.0, 1.0, None, float("nan"), 1.0, 1.0, 1.0, 0.5):
        scheduler.step(value)
        seen.append(round(optimizer.param_groups[0]["lr"] / BASES[0], 6))
    assert seen == [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]


def test_plateau_warms_up_by_steps_and_waits_for_it() -> None:
    optimizer = groups()
    scheduler = Plateau(optimizer, 2, warmup_epochs=2.0, patience=1, factor=0.5)
    assert scheduler.when == ("step", "metric")
    seen = []
    for _ in range(3):
        for _ in range(2):
            seen.append(optimizer.param_groups[1]["lr"] / BASES[1])
            scheduler.step()
        scheduler.step(1.0)
    assert seen == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5, 0.5])  # epoch 1 is best, 2 ends the warm-up


@pytest.mark.parametrize(
    "build",
    [
        lambda o: Constant(o, 4, warmup_steps=6),
        lambda o: Cosine(o, 40, 4, warmup_epochs=1.5, min_lr=0.001),
        lambda o: Linear(o, 40, 4, warmup_epochs=1.5, min_lr=0.001),
        lambda o: Step(o, 40, 4, warmup_steps=6, every_epochs=2.5),
        lambda o: OneCycle(o, 40, 4),
        lambda o: Plateau(o, 4, warmup_steps=6, patience=2, factor=0.3),
    ],
)
def test_state_round_trips(build: Any) -> None:
    def advance(scheduler: Any, epochs: range) -> None:
        for epoch in epochs:
            for _ in range(4):
                scheduler.step()
            if "metric" in scheduler.when:
                scheduler.step([0.9, 0.5, 0.6, 0.7, 0.8, 0.4, 0.4, 0.4][epoch])

    whole, first, second = groups(), groups(), groups()
    advance(build(whole), range(8))
    left, right = build(first), build(second)
    advance(left, range(5))
    right.load_state_dict(json.loads(json.dumps(left.state_dict())))
    second.param_groups = [dict(group) for group in first.param_groups]  # the rates come with the optimizer
    advance(right, range(5, 8))
    assert rates(second) == rates(whole)


def test_on_our_optimizer() -> None:
    optimizer = SGD([{"params": [torch.nn.Parameter(torch.zeros(2))]}], lr=0.4)
    scheduler = Cosine(optimizer, 4, 2)
    assert scheduler.when == "step"
    for _ in range(4):
        scheduler.step()
    assert rates(optimizer) == [pytest.approx(0.0, abs=1e-15)]
