"""What follows from which figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clsfit.timing.advice import advise
from clsfit.timing.results import TIERS, Benchmark, Pace, Tier, Trial


def pace(rate: float, spread: float = 0.05) -> Pace:
    return Pace(rate, (1 - spread) * rate, (1 + spread) * rate, 5)


def found(
    chosen: str, rates: dict[str, float], *, step: float = 1000, whole: float = 990, waiting: float = 0.0, **more: Any
) -> Benchmark:
    tiers = {
        name: Tier(name in rates, name == chosen, "", 1.0, pace(rates[name]))
        if name in rates
        else Tier(False, False, "")
        for name in TIERS
    }
    setting = {"workers": 2, "most_workers": 2, "cores": 2, "device": "cpu"} | more.pop("setting", {})
    ceiling = more.pop("ceiling", 1000)
    return Benchmark(
        setting, tiers, pace(step), pace(whole), waiting, None if ceiling is None else pace(ceiling), "", **more
    )


STREAM = {"memory": 5000.0, "disk": 4000.0, "stream": 300.0}


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        (found("stream", STREAM, whole=290, waiting=0.7), ["--cache memory"]),
        (found("stream", {"disk": 4000, "stream": 300}, whole=290, waiting=0.7), ["--cache disk"]),
        (found("stream", {"memory": 4900, "disk": 5000, "stream": 300}, whole=290, waiting=0.7), ["--cache memory"]),
        (found("stream", {"memory": 6000, "disk": 9000, "stream": 300}, whole=290, waiting=0.7), ["--cache memory"]),
        (found("stream", {"memory": 600, "disk": 900, "stream": 300}, whole=290, waiting=0.7), ["--cache disk"]),
        (found("disk", {"resident": 9e6, "disk": 400, "stream": 300}, whole=390, waiting=0.6), ["--cache memory"]),
        (found("stream", STREAM, whole=600, waiting=0.03), ["--cache memory"]),  # it does not wait: it is slowed down
        (
            found("stream", {"stream": 300}, whole=290, waiting=0.7, setting={"workers": 1, "most_workers": 8}),
            ["--workers 8"],
        ),
        (
            found("stream", STREAM, whole=290, waiting=0.7, setting={"workers": 0}),
            ["--cache memory", "--workers 2"],
        ),
        (found("memory", {"memory": 300, "stream": 290}, whole=290, waiting=0.7), ["smaller pictures in the files"]),
        (found("resident", {"resident": 300}, whole=290, waiting=0.7, setting={"workers": 0}), ["smaller pictures"]),
        (found("memory", STREAM), ["nothing"]),
        (found("memory", STREAM, ceiling=None), ["nothing"]),
        (found("resident", {"resident": 9e6}, whole=600), ["nothing"]),  # chance: nothing works beside the step
        (found("memory", STREAM, step=700, whole=690), ["fewer --metric and --callback"]),
        (
            found(
                "memory",
                STREAM,
                trials=(
                    Trial("--batch-size 64", pace(1300)),
                    Trial("--threads 2", pace(1900)),
                    Trial("--threads 3", pace(1100)),
                ),
            ),
            ["--threads 2", "--batch-size 64"],
        ),
        (found("memory", STREAM, trials=(Trial("--threads 2", pace(1300, 0.4)),)), ["nothing"]),  # may be chance
        # where pictures are what it waits for, a faster step helps nothing
        (
            found("stream", STREAM, whole=290, waiting=0.7, trials=(Trial("--threads 2", pace(1900)),)),
            ["--cache memory"],
        ),
    ],
)
def test_changes(case: Benchmark, changes: list[str]) -> None:
    advice = advise(case)
    assert len(advice) == len(changes)
    for given, expected in zip(advice, changes, strict=True):
        assert given.change.startswith(expected)
        assert given.tier in case.tiers
        assert case.tiers[given.tier].possible
        assert given.tier in given.why


def test_why_has_the_figures() -> None:
    (advice,) = advise(found("stream", STREAM, whole=290, waiting=0.7))
    assert advice.tier == "memory"
    assert "70% of the time is waiting" in advice.why
    assert "memory gives 5,000 pictures/s; stream gives 300 pictures/s, the step could take 1,000" in advice.why
    (slowed,) = advise(found("stream", STREAM, whole=600, waiting=0.03))
    assert "slows training to 60% of the step's speed" in slowed.why


def test_whether_the_machine_was_quiet() -> None:
    quiet = found("memory", STREAM)
    assert quiet.steady
    for name in ("step", "whole", "ceiling"):
        assert not replace(quiet, **{name: pace(1000, 0.3)}).steady
    assert replace(quiet, ceiling=None).steady
    tiers = dict(quiet.tiers)
    assert replace(quiet, tiers=tiers | {"stream": Tier(True, False, "", 1.0, pace(300, 0.5))}).steady
    assert not replace(quiet, tiers=tiers | {"memory": Tier(True, True, "", 1.0, pace(300, 0.5))}).steady
