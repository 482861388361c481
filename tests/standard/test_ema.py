"""ema: the average of the formula, judged by validation, held by the model files, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from clsfit_standard.callbacks.ema import EMA

import clsfit
from clsfit.errors import ConfigError, ResourceError

OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4},
    "callback": ["none", "checkpoint", {"name": "ema", "decay": 0.9}],
    "epochs": 2,
    "batch_size": 8,
    "threads": 1,
    "verbosity": 0,
}


class FakeRun:
    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model


def net() -> torch.nn.Module:
    torch.default_generator.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("warmup", [True, False])
def test_it_is_the_formula(warmup: bool) -> None:
    model, callback = net(), EMA(0.8, warmup)
    callback.on_fit_start(FakeRun(model))  # type: ignore[arg-type]
    expected = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for step in range(1, 30):
        model(torch.randn(4, 1, 5, 5))  # moves the statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        callback.on_step_end(FakeRun(model))  # type: ignore[arg-type]
        decay = min(0.8, (1 + step) / (10 + step)) if warmup else 0.8
        for name, tensor in model.state_dict().items():
            new = tensor.double()
            expected[name] = new if name == "1.num_batches_tracked" else decay * expected[name] + (1 - decay) * new
    assert callback.averaged is not None
    for name, tensor in callback.averaged.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert callback.averaged[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index,union-attr]
    assert not any(parameter.requires_grad for parameter in callback.averaged.parameters())


def test_weights_that_layers_share_move_once_a_step() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    callback = EMA(0.5, warmup=False)
    callback.on_fit_start(FakeRun(model))  # type: ignore[arg-type]
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    callback.on_step_end(FakeRun(model))  # type: ignore[arg-type]
    assert callback.averaged is not None
    torch.testing.assert_close(callback.averaged[0].weight.detach(), before + 0.5)  # type: ignore[index,union-attr]
    assert callback.averaged[1].weight is callback.averaged[0].weight  # type: ignore[index,union-attr]


def test_loading_keeps_the_memory_format_and_refuses_another_model() -> None:
    callback = EMA()
    callback.on_fit_start(FakeRun(net()))  # type: ignore[arg-type]
    state = callback.state_dict()
    state["average"] = {name: tensor.contiguous() + 1 for name, tensor in state["average"].items()}
    callback.load_state_dict(state)
    assert callback.averaged is not None
    assert callback.averaged[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index,union-attr]
    torch.testing.assert_close(callback.averaged.state_dict()["0.bias"], state["average"]["0.bias"])
    later = EMA()
    later.load_state_dict({"updates": 1, "average": {"0.bias": torch.zeros(7)}})
    with pytest.raises(ValueError, match="another model"):
        later.on_fit_start(FakeRun(net()))  # type: ignore[arg-type]


def test_validation_judges_it_and_the_model_files_hold_it(pictures: Path, tmp_path: Path) -> None:
    run = clsfit.train(pictures, output=tmp_path / "run", **OPTIONS)
    last = clsfit.load(run.directory / "last.safetensors").evaluate(str(pictures), split="all")
    raw = clsfit.load(run.directory / "last.raw.safetensors").evaluate(str(pictures), split="all")
    assert last.scores["loss"] != raw.scores["loss"]
    judged = clsfit.load(run.directory / "last.safetensors").evaluate()
    assert judged.scores["loss"] == run.metrics[-1]["val/loss"]
    plain = clsfit.train(pictures, output=tmp_path / "plain", **(OPTIONS | {"callback": ["none", "checkpoint"]}))
    one, other = (
        safetensors.torch.load_file(path)
        for path in (plain.directory / "last.safetensors", run.directory / "last.raw.safetensors")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)  # averaging changes no step
    assert not (plain.directory / "last.raw.safetensors").exists()


def test_without_it_no_file_of_it_stays(pictures: Path, tmp_path: Path) -> None:
    clsfit.train(pictures, output=tmp_path / "run", **OPTIONS | {"epochs": 1})
    assert (tmp_path / "run" / "last.raw.safetensors").exists()
    changed = OPTIONS | {"callback": ["none", "checkpoint"]}
    clsfit.train(pictures, output=tmp_path / "run", resume=True, accept_changes=True, **changed)
    assert not (tmp_path / "run" / "last.raw.safetensors").exists()


def test_a_file_of_it_that_cannot_be_removed_is_named(pictures: Path, tmp_path: Path) -> None:
    clsfit.train(pictures, output=tmp_path / "run", **OPTIONS | {"epochs": 1})
    (tmp_path / "run" / "last.raw.safetensors").unlink()
    (tmp_path / "run" / "last.raw.safetensors").mkdir()
    changed = OPTIONS | {"callback": ["none", "checkpoint"]}
    with pytest.raises(ResourceError, match="could not be removed: is a directory") as caught:
        clsfit.train(pictures, output=tmp_path / "run", resume=True, accept_changes=True, **changed)
    assert str(caught.value).splitlines()[1:] == [str(tmp_path / "run" / "last.raw.safetensors"), "move it away"]


def test_two_averages_are_refused(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsfit_standard.callbacks.freeze.Freeze.averaged", torch.nn.Identity(), raising=False)
    with pytest.raises(ConfigError, match="only one callback may average the model"):
        clsfit.train(pictures, output=tmp_path / "run", **(OPTIONS | {"callback": ["ema", "freeze"]}))


def test_how_often_it_was_updated_comes_back() -> None:
    model, callback, later = net(), EMA(), EMA()
    callback.on_fit_start(FakeRun(model))  # type: ignore[arg-type]
    callback.on_step_end(FakeRun(model))  # type: ignore[arg-type]
    later.load_state_dict(callback.state_dict())
    assert later.state_dict()["updates"] == 1  # warm-up goes on where it was
