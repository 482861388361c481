"""Device and threads are decided once, from configuration and hardware."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

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
