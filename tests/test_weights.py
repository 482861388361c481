"""What training starts from: no weights, pretrained ones, a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

import clsfit
from clsfit.config import resolve
from clsfit.contracts import Preprocessing
from clsfit.engine.checkpoint import load_weights
from clsfit.errors import CheckpointError, ConfigError, PluginError
from clsfit.registry import Plugins
from clsfit.storage import modelfile
from clsfit.training import Control, train_config
from clsfit.weights import adopt, preprocessing

PLUGIN = """
import torch
from clsfit import Component, hookimpl
from clsfit.contracts import Preprocessing

class Ours:
    def preprocessing(self):
        return Preprocessing((6, 7), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    def tensors(self):
        return {"1.weight": torch.full((9, 3 * 42), 0.25), "1.bias": torch.full((9,), 0.5), "extra": torch.ones(1)}
    def fit(self, tensors, model):
        wide = model[1].weight.shape[1]
        return {n: t[..., :wide] if n == "1.weight" else t for n, t in tensors.items() if n != "extra"}

def linear(num_classes, in_channels, input_size):
    features = in_channels * input_size[0] * input_size[1]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(features, num_classes))

linear.pretrained = Ours()

class Broken:
    def preprocessing(self):
        raise OSError("gone")

def broken(num_classes):
    raise AssertionError

broken.pretrained = Broken()

class Listed(Ours):
    def tensors(self):
        return list(super().tensors().items())

def listed(num_classes, in_channels, input_size):
    return linear(num_classes, in_channels, input_size)

listed.pretrained = Listed()

class Unscaled(Ours):
    def preprocessing(self):
        return Preprocessing((6, 7), (0.5,), (0.0,))

def unscaled(num_classes):
    raise AssertionError

unscaled.pretrained = Unscaled()

def own(num_classes, in_channels, input_size, weights="mine"):
    assert weights == "theirs"
    return linear(num_classes, in_channels, input_size)

own.pretrained = Broken()

@hookimpl
def clsfit_models():
    for name in ("linear", "broken", "listed", "unscaled", "own"):
        yield Component(name, f"plugin_with_weights:{name}", "of a test")
"""


@pytest.fixture
def train(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., clsfit.TrainedRun]:
    """Trains an epoch on 8x8 grey pictures at a rate next to 0: its files hold what it started from."""
    (tmp_path / "plugin_with_weights.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    points = [*entry_points(group="clsfit"), EntryPoint("plugin_with_weights", "plugin_with_weights", "clsfit")]

    def run(output: str, control: dict[str, Any] | None = None, **options: Any) -> clsfit.TrainedRun:
        plugins = Plugins.discover(points=points)
        fixed = {"data": str(pictures), "epochs": 1, "threads": 1, "optimizer": {"name": "sgd", "lr": 1e-30}}
        config = resolve(plugins, options=fixed | options)
        return train_config(config, plugins, Control(**{"output": Path(output), "verbosity": 0, **(control or {})}))

    return run


def last(run: clsfit.TrainedRun) -> dict[str, torch.Tensor]:
    """Its tensors, but for the statistics that batch normalisation gathers at any rate."""
    tensors = safetensors.torch.load_file(run.directory / "last.safetensors")
    return {name: t for name, t in tensors.items() if not name.endswith(("running_mean", "running_var", "tracked"))}


def settings(run: clsfit.TrainedRun) -> dict[str, Any]:
    return yaml.safe_load((run.directory / "config.yaml").read_text())


def test_default(train: Any, tmp_path: Path) -> None:
    run = train("run", model={"name": "linear", "weights": "default"})
    assert last(run)["model.1.weight"].shape == (3, 42), "the size that the weights want, grey as the pictures"
    recorded = settings(run)
    assert recorded["input_size"] == "6x7"
    assert recorded["mean"] == [pytest.approx(0.2)]
    assert recorded["std"] == [pytest.approx(0.5)]
    lines = (run.directory / "log.txt").read_text()
    assert "weights: default, 0 of 2 tensors; new: 1.weight, 1.bias" in lines
    train("same", model={"name": "linear", "weights": "default"}, channels=3)
    assert settings(train("colour", model={"name": "linear", "weights": "default"}, channels=3))["mean"] == [
        0.1,
        0.2,
        0.3,
    ]


def test_settings_win(train: Any) -> None:
    options = {"input_size": (4, 4), "mean": (0.7,)}
    recorded = settings(train("run", model={"name": "linear", "weights": "default"}, **options))
    assert (recorded["input_size"], recorded["mean"]) == (4, [0.7])
    assert recorded["std"] == [pytest.approx(0.5)]


def test_one_value_stands_for_all_channels() -> None:
    config = resolve(Plugins.discover(bundled_only=True), options={})
    settings = adopt(config, Preprocessing((8, 8), (0.25,), (0.75,)), 3).settings
    assert (settings.mean, settings.std) == ((0.25,) * 3, (0.75,) * 3)
    settings = adopt(config, Preprocessing((8, 8), (0.25,), (0.75,))).settings
    assert (settings.input_size, settings.mean, settings.std) == ((8, 8), None, None)
    assert adopt(config, None, 3) is config


def test_a_model_without_pretrained_weights(train: Any) -> None:
    with pytest.raises(ConfigError, match=r"small_cnn.*\n.*\n.*none or a FILE"):
        train("run", model={"name": "small_cnn", "weights": "default"})
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("name", "told"), [("broken", "gone"), ("listed", "a list instead of a Mapping"), ("unscaled", "no size, mean and")]
)
def test_weights_that_fail_are_their_plugins_fault(train: Any, name: str, told: str) -> None:
    with pytest.raises(PluginError, match=told):
        train("run", model={"name": name, "weights": "default"})


def test_a_components_own_option_of_that_name_is_its_own(train: Any) -> None:
    run = train("run", model={"name": "own", "weights": "theirs"})
    assert "weights: theirs" in (run.directory / "config.yaml").read_text()
    assert "tensors" not in (run.directory / "log.txt").read_text(), "the core looks for no file of that name"


def test_a_run_of_the_same_classes(train: Any, tmp_path: Path) -> None:
    model = {"name": "small_cnn", "width": 4}
    first = train("first", model=model, seed=1, mean=(0.3,), input_size=(6, 6))
    for file in ("first", "first/best.safetensors"):
        again = train(file.replace("/", "-") + "-again", model=model | {"weights": file}, seed=2)
        for name, tensor in last(again).items():
            torch.testing.assert_close(tensor, last(first)[name], rtol=0, atol=1e-20)  # a bias of 0 is not 0 any more
        recorded = settings(again)
        assert (recorded["input_size"], recorded["mean"]) == (6, [0.3]), "as the model's pictures were"
        assert recorded["model"]["weights"] == str(tmp_path / file), "absolute"


def test_a_run_of_other_classes(train: Any, drawn: Any, tmp_path: Path) -> None:
    model = {"name": "small_cnn", "width": 4}
    first = train("first", model=model)
    other = drawn(tmp_path / "other", {"dots": 20, "lines": 20, "rings": 20})
    second = train("second", model=model | {"weights": "first"}, data=str(other))
    plain = train("third", model=model, data=str(other))
    assert torch.equal(last(second)["model.features.0.weight"], last(first)["model.features.0.weight"])
    assert torch.equal(last(second)["model.head.weight"], last(plain)["model.head.weight"]), "as drawn"
    assert "; new: head.weight, head.bias" in (second.directory / "log.txt").read_text()


def test_a_foreign_safetensors_file(train: Any, tmp_path: Path) -> None:
    tensors = {"1.weight": torch.ones(3, 42), "1.bias": torch.ones(3)}
    safetensors.torch.save_file(tensors, tmp_path / "w.bin")
    run = train("run", model={"name": "linear", "weights": "w.bin"})
    assert settings(run)["input_size"] == "6x7", "as the model's pretrained weights"
    assert torch.equal(last(run)["model.1.weight"], tensors["1.weight"])
    with pytest.raises(CheckpointError, match="do not fit"):
        train("mlp", model={"name": "mlp", "weights": "w.bin"})
    assert not Path("mlp").exists()


@pytest.mark.parametrize("content", ["zip", "pickle", "cut", "text", "empty", "missing", "damaged", "later"])
def test_files_are_checked_before_the_data(content: str, train: Any, tmp_path: Path) -> None:
    path, empty = tmp_path / "w.safetensors", tmp_path / "no-pictures"
    empty.mkdir()
    if content in {"zip", "pickle"}:
        torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=content == "zip")
    elif content == "damaged":
        model = train("first", model={"name": "mlp", "hidden": [4]}).directory / "last.safetensors"
        blob = bytearray(model.read_bytes())
        blob[-1] ^= 1
        path.write_bytes(blob)
    elif content == "later":  # than what this version knows
        modelfile.write(path, safetensors.torch.save({"model.w": torch.ones(1)}), {"format": 2, "clsfit": "9.0"})
    elif content != "missing":
        blob = safetensors.torch.save({"w": torch.ones(9)})
        path.write_bytes({"cut": blob[:-1], "text": b"plain text, long enough", "empty": b""}[content])
    with pytest.raises(CheckpointError) as refused:
        train("run", model={"name": "mlp", "weights": str(path)}, data=str(empty))
    assert str(path) in refused.value.where
    assert ("clsfit import" in refused.value.remedy) is (content in {"zip", "pickle"})
    assert not Path("run").exists()


def test_resume_loads_nothing_and_asks_nobody(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"name": "small_cnn", "width": 4}
    train("first", model=model, input_size=(6, 6))
    options = {"model": model | {"weights": "first"}, "epochs": 2, "optimizer": "sgd"}
    options["callback"] = [{"name": "checkpoint", "every_epochs": 1}]
    whole = train("whole", **options)
    shutil.copytree("whole", "part")
    Path("part", "summary.json").unlink()
    for checkpoint in sorted(Path("part", "checkpoints").iterdir())[-1:]:
        shutil.rmtree(checkpoint) if checkpoint.is_dir() else checkpoint.unlink()
    shutil.rmtree("first")
    resumed = train("part", {"resume": True}, **options)
    assert all(torch.equal(tensor, last(whole)[name]) for name, tensor in last(resumed).items())
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    with pytest.raises(CheckpointError, match=r"model.weights: .*/first -> .*deeper/first"):
        train("../part", {"resume": True}, **options)


def test_a_run_cannot_overwrite_what_it_starts_from(train: Any) -> None:
    model = {"name": "small_cnn", "width": 4}
    train("run", model=model)
    for file in ("run", "run/best.safetensors"):
        with pytest.raises(ConfigError, match="would be deleted"):
            train("run", {"overwrite": True}, model=model | {"weights": file})
    assert Path("run", "best.safetensors").exists()


def test_a_dry_run_loads_them(train: Any, capfd: pytest.CaptureFixture[str]) -> None:
    train("run", {"dry_run": True, "verbosity": 1}, model={"name": "linear", "weights": "default"})
    assert "weights: default" in capfd.readouterr().err
    assert not Path("run").exists()


def test_predicting_loads_no_other_weights(train: Any, tmp_path: Path) -> None:
    model = {"name": "small_cnn", "width": 4}
    train("first", model=model)
    run = train("second", model=model | {"weights": "first"})
    shutil.rmtree("first")
    loaded = clsfit.load(run.directory)
    assert loaded.header["model"]["params"]["weights"] == str(tmp_path / "first")
    expected = modelfile.read(run.directory / "best.safetensors")
    fresh = nn.Identity()
    load_weights(loaded.module, fresh, safetensors.torch.load(expected.blob))


def test_nothing_is_asked_for_random_weights() -> None:
    config = resolve(Plugins.discover(bundled_only=True), options={"model": "resnet18"})
    assert config.one("model").params["weights"] is None
    assert preprocessing(config) is None


def test_a_run_that_has_begun_takes_no_other_weights(train: Any) -> None:
    model = {"name": "small_cnn", "width": 4}
    train("first", model=model)
    train("run", model=model)
    asked = model | {"weights": "first"}
    with pytest.raises(CheckpointError, match=r"model\.weights: None -> "):
        train("run", {"resume": True}, model=asked)
    with pytest.raises(ConfigError, match="is what training starts from, and this run has begun"):
        train("run", {"resume": True, "accept_changes": True}, model=asked)
