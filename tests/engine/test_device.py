"""Device and threads are decided once, from configuration and hardware."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from clsfit.distributed.launch import Place
from clsfit.engine import device
from clsfit.errors import ConfigError, ResourceError


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_batches_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert device.set_threads(None, 32 * 8 * 8) == 1


def test_large_batches_keep_torch_s_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert device.set_threads(None, 32 * 3 * 32 * 32) == 2


def test_what_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.set_threads(None, 1) == 2  # OMP_NUM_THREADS is set, and torch has read it
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert device.set_threads(2, 1) == 2


@pytest.mark.parametrize(("processes", "expected"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 1)])
def test_ranks_share_the_threads_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, processes: int, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(8)
    assert device.set_threads(None, 1 << 20, processes) == expected
    torch.set_num_threads(8)
    assert device.set_threads(None, 1, processes) == 1  # small batches
    assert device.set_threads(3, 1 << 20, processes) == 3  # as asked
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    torch.set_num_threads(6)  # as torch reads it
    assert device.set_threads(None, 1 << 20, processes) == 6


def place(local_rank: int) -> Place:
    return Place(local_rank + 2, 4, local_rank, 2, "node", 29500)


def test_a_rank_takes_the_device_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", present.append)
    for name in ("auto", "cuda"):
        assert [device.choose_among(name, place(rank)) for rank in (0, 1)] == [torch.device("cuda", k) for k in (0, 1)]
    assert device.choose_among("cpu", place(1)) == torch.device("cpu")
    assert present == [torch.device("cuda", k) for k in (0, 1, 0, 1)]
    assert device.choose("cuda:1") == present.pop() == torch.device("cuda", 1)  # a run alone too
    with pytest.raises(ResourceError, match="'cuda:5' is not available"):
        device.choose_among("auto", place(5))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_among("auto", place(1)) == torch.device("cpu")
    with pytest.raises(ResourceError, match="'cuda:1' is not available"):
        device.choose_among("cuda", place(1))


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "mps"])
def test_ranks_cannot_share_one_device(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name} is one device, and there are 4 ranks"):
        device.choose_among(name, place(0))
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        device.choose_among("gpu", place(0))


def test_unknown_and_absent_devices() -> None:
    assert device.choose("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        device.choose("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="not available"):
            device.choose("cuda:7")


def test_reseeding_decides_what_layers_draw() -> None:
    device.reseed(torch.device("cpu"), 5)
    first = torch.rand(3)
    torch.rand(10)
    device.reseed(torch.device("cpu"), 5)
    assert torch.equal(torch.rand(3), first)
