"""whiten: filters of the formula, set once, from pictures as the model gets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from clsfit_standard.callbacks.whiten import Whiten, whitening_filters
from clsfit_standard.models.airbench import Airbench
from clsfit_standard.models.small_cnn import SmallCNN
from torch import Tensor, nn

import clsfit
from clsfit.engine import checkpoint
from clsfit.engine.ranks import Alone
from clsfit.errors import ConfigError
from clsfit.pipeline.loader import Batch
from clsfit.testing import check_callback

OPTIONS: dict[str, Any] = {
    "model": {"name": "airbench", "widths": [4, 4, 4]},
    "callback": ["checkpoint", "whiten"],
    "input_size": 12,
    "epochs": 2,
    "batch_size": 8,
    "threads": 1,
}


class FakeLoader:
    """Gives pictures in memory, and notes which were asked for."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.asked = images, list[int]()

    def batches(self, rows: Any, bounds: Any) -> Any:
        for start, stop in bounds:
            part = rows[start:stop]
            self.asked += part.tolist()
            targets = torch.zeros(len(part), dtype=torch.int64)
            yield Batch(self.images[torch.from_numpy(part)], targets, None, part, {})


def fake_run(model: nn.Module, images: Tensor, rows: Any = None, step: int = 0, weights: str | None = None) -> Any:
    rows = np.arange(len(images)) if rows is None else rows
    train = SimpleNamespace(loader=FakeLoader(images), rows=rows)
    return SimpleNamespace(model=model, train=train, step=step, weights=weights, ranks=Alone())


def correlated(count: int, channels: int = 3) -> Tensor:
    """Pictures [count, channels, 9, 10] whose neighbours and channels resemble each other."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, channels, 12, 13, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(drawn, 4, stride=1)
    return smooth + 0.5 * smooth.mean(1, keepdim=True)


def patches_of(images: Tensor, high: int, wide: int) -> np.ndarray[Any, Any]:
    """[P, D] float64: every patch, one by one."""
    found = [
        image[:, top : top + high, left : left + wide].reshape(-1)
        for image in images.double().numpy()
        for top in range(image.shape[1] - high + 1)
        for left in range(image.shape[2] - wide + 1)
    ]
    return np.stack(found)


@pytest.mark.parametrize(("channels", "high", "wide"), [(3, 2, 2), (1, 3, 2), (2, 1, 1)])
def test_outputs_are_white(channels: int, high: int, wide: int) -> None:
    images, half = correlated(40, channels), channels * high * wide
    conv = nn.Conv2d(channels, 2 * half, (high, wide))
    assert conv.bias is not None
    bias = conv.bias.detach().clone()
    Whiten(eps=1e-9).on_fit_start(fake_run(nn.Sequential(conv), images))
    assert torch.equal(conv.bias, bias)
    outputs = patches_of(images, high, wide) @ conv.weight.detach().double().numpy().reshape(2 * half, -1).T
    products = outputs.T @ outputs / len(outputs)
    np.testing.assert_allclose(products[:half, :half], np.eye(half), atol=1e-4)
    np.testing.assert_allclose(outputs[:, half:], -outputs[:, :half])


def test_filters_are_the_formulas() -> None:
    """numpy's eigenvectors of all patches at once, largest first, up to their signs."""
    images, eps = correlated(300), 0.01
    model = Airbench(num_classes=2, in_channels=3, input_size=(9, 10), widths=(2, 2, 2))
    Whiten(pictures=300, eps=eps).on_fit_start(fake_run(model, images))
    patches = patches_of(images, 2, 2)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    expected = (vectors / np.sqrt(values + eps)).T[::-1]
    got = model.whitening.weight.detach().double().numpy().reshape(24, 12)[:12]
    signs = np.sign((got * expected).sum(1))[:, None]
    np.testing.assert_allclose(got, signs * expected, rtol=1e-4, atol=1e-5)
    assert not model.whitening.weight.requires_grad


def test_values_that_never_differ() -> None:
    """Black pictures: eigenvalues of 0, or a little below, stay finite."""
    assert whitening_filters(torch.zeros(4, 4, dtype=torch.float64), 5e-4).isfinite().all()
    moments = torch.ones(4, 4, dtype=torch.float64) - 1e-3 * torch.eye(4, dtype=torch.float64)
    assert whitening_filters(moments, 5e-4).isfinite().all()


def test_pictures_come_from_the_whole_table() -> None:
    """A folder's table lists one class after the other."""
    rows = np.arange(100, 1100)
    run = fake_run(nn.Conv2d(1, 2, 1), torch.randn(1100, 1, 2, 2), rows)
    Whiten(pictures=300).on_fit_start(run)
    asked = run.train.loader.asked
    assert len(set(asked)) == 300
    assert asked[0] == 100
    assert {int(gap) for gap in np.diff(asked)} == {3, 4}
    few = fake_run(nn.Conv2d(1, 2, 1), torch.randn(5, 1, 2, 2))
    Whiten(pictures=300).on_fit_start(few)
    assert few.train.loader.asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("goes_on_by", ["step", "state"])
def test_never_where_a_run_goes_on(goes_on_by: str) -> None:
    conv = nn.Conv2d(3, 24, 2)
    before = conv.weight.detach().clone()
    callback = Whiten()
    if goes_on_by == "state":
        callback.load_state_dict({"done": True})
    callback.on_fit_start(fake_run(conv, correlated(5), step=1 if goes_on_by == "step" else 0))
    assert torch.equal(conv.weight, before)


def test_its_contract() -> None:
    check_callback(Whiten)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (SmallCNN(num_classes=3, in_channels=3, input_size=(32, 32)), r"54 outputs .* 3x3 pixels; it has 32 in 1"),
        (nn.Conv2d(4, 16, 2, groups=2), "has 16 in 2"),
        (nn.Linear(2, 2), "has none"),
    ],
)
def test_a_model_that_it_does_not_fit(model: nn.Module, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        Whiten().check(fake_run(model, correlated(2)))
    assert "--callback whiten" in refused.value.where
    assert len(str(refused.value).splitlines()) <= 3


def test_weights_to_start_from_are_not_overwritten(clsfit: Any, pictures: Path, tmp_path: Path) -> None:
    first = train(pictures, tmp_path / "first", epochs=1)
    options = ("--model", "airbench", "--model.widths", "4,4,4", "--model.weights", first / "best.safetensors")
    done = clsfit("train", pictures, *options, "--callback", "whiten", "-o", "run", code=2)
    assert "overwrite the first convolution" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert not (tmp_path / "run").exists()
    clsfit("train", pictures, *options, "--epochs", "1", "-o", "run")
    kept = first_weights(tmp_path / "run" / "last.safetensors")
    assert kept.equal(first_weights(first / "best.safetensors")), "this model never trains them"


def test_a_run_refuses_it_before_it_writes(clsfit: Any, pictures: Path, tmp_path: Path) -> None:
    done = clsfit("train", pictures, "--callback", "whiten", "-o", "run", code=2)
    assert "18 outputs" in done.stderr
    assert not (tmp_path / "run").exists()


def train(pictures: Path, output: Path, **changed: Any) -> Path:
    return clsfit.train(pictures, output=output, verbosity=0, resume=True, **(OPTIONS | changed)).directory


def first_weights(path: Path) -> Tensor:
    return safetensors.torch.load_file(path)["model.whitening.weight"]


def test_the_same_bits_whatever_the_seed_of_torch_and_the_tier(pictures: Path, tmp_path: Path) -> None:
    """And with them all that comes after."""
    torch.manual_seed(1)
    expected = (train(pictures, tmp_path / "one") / "last.safetensors").read_bytes()
    torch.manual_seed(2)
    again = train(pictures, tmp_path / "two", callback=["checkpoint", "whiten"], cache="off", workers=2)
    assert first_weights(again / "last.safetensors").equal(first_weights(tmp_path / "one" / "last.safetensors"))
    assert (again / "last.safetensors").read_bytes() == expected


def test_it_draws_nothing() -> None:
    run = fake_run(nn.Conv2d(3, 24, 2), correlated(20))
    state = torch.get_rng_state()
    Whiten().on_fit_start(run)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_average_that_is_listed_before_it_has_its_weights(pictures: Path, tmp_path: Path) -> None:
    callbacks = ["checkpoint", {"name": "ema", "decay": 0.999, "warmup": False}, "whiten"]
    run = train(pictures, tmp_path / "run", callback=callbacks, epochs=1)
    averaged, trained = (first_weights(run / f"last{kind}.safetensors") for kind in ("", ".raw"))
    torch.testing.assert_close(averaged, trained, rtol=0, atol=1e-6)


def test_a_resume_keeps_the_weights(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From step 0 and from inside the run; other pictures at hand change nothing."""
    saves: dict[int, Path] = {}
    plain = checkpoint.save

    def save_and_copy(run: Any) -> None:
        plain(run)
        run.saver.flush()
        run.directory.metrics.sync()
        saves[run.step] = tmp_path / f"after-{run.step}"
        shutil.copytree(run.directory.path, saves[run.step], dirs_exist_ok=True)

    callbacks = [{"name": "checkpoint", "every_steps": 1}, "whiten"]
    monkeypatch.setattr(checkpoint, "save", save_and_copy)
    whole = train(pictures, tmp_path / "whole", callback=callbacks)
    monkeypatch.undo()
    expected = (whole / "last.safetensors").read_bytes()
    told = []
    monkeypatch.setattr(Whiten, "_moments", lambda *_: told.append("computed"))
    for step in (0, 3):
        assert (train(pictures, saves[step], callback=callbacks) / "last.safetensors").read_bytes() == expected
    assert not told
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["epochs"] == 2
