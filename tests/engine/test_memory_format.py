"""Models that convolve get pictures and weights in channels_last, others and those that cannot take it do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import clsfit
from clsfit.engine.device import memory_format
from clsfit.storage import modelfile

CODE = """
class Net(torch.nn.Module):
    SEEN = []
    def __init__(self, num_classes, in_channels, input_size, way: str = "reshape"):
        super().__init__()
        self.way = way
        self.conv = torch.nn.Conv2d(in_channels, 6, 3, padding=1)
        self.head = torch.nn.Linear(6 * input_size[0] * input_size[1], num_classes)
    def forward(self, images):
        hidden = self.conv(images)
        kind = torch.channels_last
        Net.SEEN.append((images.is_contiguous(memory_format=kind), self.conv.weight.is_contiguous(memory_format=kind)))
        hidden = hidden.view(len(hidden), -1) if self.way == "view" else hidden.flatten(1)
        return self.head(hidden)

class Spy:
    def __init__(self, net: bool = True): pass
    @hookimpl
    def on_fit_start(self, run):
        Net.SEEN.clear()
    @hookimpl
    def on_gradients(self, run):
        p = run.model.conv.weight
        assert p.grad.stride() == p.stride(), (p.grad.stride(), p.stride())
    @hookimpl
    def on_fit_end(self, run):
        from pathlib import Path
        Path(run.directory.path, "seen.txt").write_text(repr(set(Net.SEEN)))
"""
OPTIONS: dict[str, Any] = {"input_size": 12, "channels": 3, "callback": ["mine"]}


@pytest.mark.parametrize(("way", "last"), [("reshape", True), ("view", False)])
def test_a_model_computes_in_the_format_that_it_can_take(
    own: Any, pictures: Path, tmp_path: Path, way: str, last: bool
) -> None:
    train = own(CODE, {"model": "Net", "callback": "Spy"})
    out = tmp_path / "run"
    train(pictures, out, model={"name": "mine", "way": way}, device="cpu", **OPTIONS)
    assert (out / "seen.txt").read_text() == repr({(last, last)})
    assert modelfile.read(out / "last.safetensors").header["channels_last"] is last
    assert ("the model fails with pictures in channels_last" in (out / "log.txt").read_text()) is not last


def test_a_model_file_computes_as_it_was_trained(pictures: Path, tmp_path: Path) -> None:
    run = clsfit.train(pictures, model="small_cnn", epochs=1, device="cpu", output=tmp_path / "run", verbosity=0)
    model = clsfit.load(run.directory, device="cpu")
    kernels = [p for p in model.module.parameters() if p.ndim == 4]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    row = model.evaluate(split="val").scores
    assert row["loss"] == run.metrics[-1]["val/loss"]


def test_only_convolutions_ask_for_it_and_mps_never() -> None:
    cpu, mps = torch.device("cpu"), torch.device("mps")
    conv, linear = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(3, 4)
    assert memory_format(conv, cpu) == memory_format(conv, torch.device("cuda")) == torch.channels_last
    assert memory_format(linear, cpu) == memory_format(conv, mps) == torch.contiguous_format
