"""A process learns from the environment which rank it is; without one it trains alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clsfit.distributed.launch import Place, place
from clsfit.errors import ConfigError, ExitCode

BY_HAND = {"WORLD_SIZE": "4", "RANK": "3", "MASTER_PORT": "29500"}
BY_TORCHRUN = BY_HAND | {
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node-7",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
ALL = Place(3, 4, 1, 2, "node-7", 29500, attempt=2, hosted=True)


@pytest.mark.parametrize("environ", [{}, {"RANK": "0"}, *({"WORLD_SIZE": size} for size in ("", "0", "1"))])
def test_alone(environ: dict[str, str]) -> None:
    assert place(environ) is None
    assert place(environ | {"RANK": "no number", "MASTER_PORT": ""}) is None


def test_what_torchrun_says() -> None:
    assert place(BY_TORCHRUN) == ALL
    assert str(ALL) == "rank 3 of 4"
    assert not ALL.one_machine


def test_by_hand_all_ranks_are_on_this_machine() -> None:
    found = place(BY_HAND)
    assert found == Place(3, 4, 3, 4, "127.0.0.1", 29500)
    assert found is not None
    assert found.one_machine
    assert place(BY_HAND | {"LOCAL_WORLD_SIZE": "2"}) == replace(ALL, address="127.0.0.1", attempt=0, hosted=False)
    assert place(BY_HAND | {"TORCHELASTIC_USE_AGENT_STORE": "False"}) == found


def test_the_process_own_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BY_TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert place() == ALL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "two"),
        ("WORLD_SIZE", "-2"),
        ("WORLD_SIZE", "70000"),
        ("RANK", ""),
        ("RANK", "4"),
        ("RANK", "-1"),
        ("RANK", "1.0"),
        ("RANK", "²"),
        ("LOCAL_RANK", "2"),
        ("LOCAL_WORLD_SIZE", "5"),
        ("LOCAL_WORLD_SIZE", "0"),
        ("MASTER_PORT", ""),
        ("MASTER_PORT", "0"),
        ("MASTER_PORT", "65536"),
        ("MASTER_PORT", "80\x1b[2J"),
        ("TORCHELASTIC_RESTART_COUNT", "x"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        place(BY_TORCHRUN | {name: value})
    assert raised.value.exit_code == ExitCode.USAGE
    assert name in raised.value.where
    assert str(raised.value).isprintable() or "\n" in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 3
