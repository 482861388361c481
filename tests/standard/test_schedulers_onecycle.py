"""One cycle against torch's, and what torch leaves open."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clsfit_standard.optimizers.adam import Adam
from clsfit_standard.optimizers.sgd import SGD
from clsfit_standard.schedulers.onecycle import OneCycle
from torch.optim import lr_scheduler

BASES = (0.3, 0.02)


def rates(steps: int, total: int, **options: Any) -> list[float]:
    """The first group's rate in ``steps`` steps, on a bare object with groups."""
    optimizer = SimpleNamespace(param_groups=[{"lr": base} for base in BASES])
    scheduler = OneCycle(optimizer, total, 1, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return found


def one_cycle_of(optimizer: Any) -> list[tuple[float, ...]]:
    """Each group's rate, and momentum or both betas."""
    return [(g["lr"], *(g["betas"] if "betas" in g else [g["momentum"]])) for g in optimizer.param_groups]


@pytest.mark.parametrize("total", [4, 10, 37, 50])
@pytest.mark.parametrize("build", [SGD, Adam])
@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, 0.3),
        ({"rise": 0.45, "start_divisor": 10.0, "end_divisor": 100.0}, 0.45),
        ({"max_momentum": 0.9, "min_momentum": 0.5}, 0.3),
        ({"warmup_steps": 3}, None),
        ({"warmup_epochs": 1.5}, None),
    ],
)
def test_is_torchs(total: int, build: Any, options: dict[str, Any], share: float | None) -> None:
    """Rate and momentum of every step, with a saved and restored state in the middle."""

    def made() -> Any:
        return build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": base} for base in BASES])

    rise = options.get("warmup_steps", 2 * options.get("warmup_epochs", 0))
    reference, optimizer = made(), made()
    expected = lr_scheduler.OneCycleLR(
        reference,
        max_lr=list(BASES),
        total_steps=total,
        pct_start=rise / total if share is None else share,
        div_factor=options.get("start_divisor", 25.0),
        final_div_factor=options.get("end_divisor", 1e4),
        max_momentum=options.get("max_momentum", 0.95),
        base_momentum=options.get("min_momentum", 0.85),
    )
    scheduler = OneCycle(optimizer, total, 2, **options)
    for step in range(total):
        for ours, theirs in zip(one_cycle_of(optimizer), one_cycle_of(reference), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9)
        if step == total // 2:
            state, groups_ = json.loads(json.dumps(scheduler.state_dict())), optimizer.state_dict()
            optimizer = made()
            scheduler = OneCycle(optimizer, total, 2, **options)
            optimizer.load_state_dict(groups_)
            scheduler.load_state_dict(state)
        if step < total - 1:
            reference.step()
            expected.step()
            scheduler.step()
    end = one_cycle_of(optimizer)
    scheduler.step()
    assert one_cycle_of(optimizer) == end


@pytest.mark.parametrize("total", [1, 2, 3])
def test_of_a_run_too_short_to_rise_begins_at_the_peak(total: int) -> None:
    """torch begins past the peak; of a run of one step it would make nothing."""
    found = rates(total, total)
    assert found[0] == pytest.approx(BASES[0])
    assert total == 1 or found[-1] == pytest.approx(BASES[0] / 25e4)


def test_whose_rise_outlasts_the_run_only_rises() -> None:
    found = rates(20, 5, warmup_steps=10)
    assert found[:10] == sorted(found[:10])
    assert found[4] < BASES[0]
    assert found[9:] == pytest.approx([BASES[0]] * 11)


def test_leaves_momentum_alone_where_there_is_none_or_told_so() -> None:
    for options, momentum in (({"cycle_momentum": False}, 0.9), ({}, 0.0)):
        optimizer = SGD([{"params": [torch.nn.Parameter(torch.zeros(2))]}], momentum=momentum)
        scheduler = OneCycle(optimizer, 10, 5, **options)
        for _ in range(10):
            assert optimizer.param_groups[0]["momentum"] == momentum
            scheduler.step()


def test_momentum_passes_0_and_comes_back() -> None:
    optimizer = SGD([{"params": [torch.nn.Parameter(torch.zeros(2))]}])
    scheduler = OneCycle(optimizer, 10, 5, min_momentum=0.0)
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    assert found[0] == found[9] == 0.95
    assert found[2] == 0.0
