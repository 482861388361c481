"""``--loss.class_weights``: on any loss of one value per sample, in training, validation and evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clsfit
from clsfit.errors import ConfigError

CODE = """
class Each(torch.nn.Module):
    def forward(self, logits, targets):
        return torch.ones_like(logits[:, 0]) + 0 * logits.sum(1)

class Mean(torch.nn.Module):
    def forward(self, logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets)

class Own(torch.nn.Module):
    def __init__(self, class_weights: float = 3.0):
        super().__init__()
        self.factor = class_weights

    def forward(self, logits, targets):
        return self.factor + 0 * logits.sum(1)

class Twice:
    def order(self, epoch, targets):
        return np.concatenate([np.arange(len(targets)), np.flatnonzero(targets == 2)])

class Halves:
    soft_targets = True

    def __init__(self, num_classes, precision: str = "float32"):
        self.num_classes, self.dtype = num_classes, getattr(torch, precision)

    def draw(self, key, sizes):
        return {}

    def apply(self, images, targets, parameters):
        hot = torch.nn.functional.one_hot(targets, self.num_classes).to(self.dtype)
        return images, (hot + hot.roll(1, 1)) / 2

class Soft(Each):
    soft_targets = True
"""
TRAINED = {"bars": 24, "dots": 17, "rings": 9}  # of the pictures that a run with seed 0 trains on
COUNTS = np.array(list(TRAINED.values()))
BALANCED = COUNTS.sum() / (3 * COUNTS)


def test_a_strangers_loss_takes_them_and_the_sum_is_divided_by_samples(
    own: Any, tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = own(CODE, {"loss": "Each"})
    weights = {"bars": 0.5, "rings": 4.0}
    run = train(pictures, tmp_path / "run", loss={"name": "mine", "class_weights": weights}, batch_size=7)
    by_class = np.array([0.5, 1.0, 4.0])
    held = np.array([30, 21, 12]) - COUNTS
    assert run.metrics[0]["train/loss"] == pytest.approx(np.dot(by_class, COUNTS) / 50, rel=1e-6)
    assert run.metrics[0]["val/loss"] == pytest.approx(np.dot(by_class, held) / 13, rel=1e-6)
    assert "class weights: bars 0.5, dots 1, rings 4" in (run.directory / "log.txt").read_text()


def test_balanced_counts_the_training_pictures_only(own: Any, tmp_path: Path, pictures: Path) -> None:
    train = own(CODE, {"loss": "Each"})
    run = train(pictures, tmp_path / "run", loss={"name": "mine", "class_weights": "balanced"})
    assert run.metrics[0]["train/loss"] == pytest.approx(1, rel=1e-6)
    assert run.metrics[0]["val/loss"] == pytest.approx(np.dot(BALANCED, [6, 4, 3]) / 13, rel=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_weights_of_1_change_nothing(tmp_path: Path, pictures: Path, loss: str) -> None:
    options: dict[str, Any] = {"epochs": 2, "model": {"name": "mlp", "hidden": [8]}, "verbosity": 0, "batch_size": 8}
    plain = clsfit.train(pictures, output=tmp_path / "a", loss=loss, **options)
    ones = {"name": loss, "class_weights": dict.fromkeys(TRAINED, 1.0)}
    same = clsfit.train(pictures, output=tmp_path / "b", loss=ones, **options)
    model = clsfit.load(plain.directory).module.state_dict()
    assert all((value == model[name]).all() for name, value in clsfit.load(same.directory).module.state_dict().items())
    timed = {"seconds", "train_images_per_second"}
    for one, other in zip(plain.metrics, same.metrics, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}


def test_evaluation_is_validation(tmp_path: Path, pictures: Path) -> None:
    loss = {"name": "cross_entropy", "class_weights": "balanced"}
    run = clsfit.train(pictures, output=tmp_path / "run", loss=loss, epochs=2, verbosity=0)
    evaluation = clsfit.load(run.directory / "last.safetensors").evaluate()
    assert evaluation.scores["loss"] == run.metrics[-1]["val/loss"]
    weights = dict(zip(TRAINED, BALANCED, strict=True))
    rows = [
        (weights[r.label], dict(zip(evaluation.class_names, r.probabilities, strict=True))) for r in evaluation.rows
    ]
    losses = [-w * np.log(p[r.label]) for (w, p), r in zip(rows, evaluation.rows, strict=True)]
    assert evaluation.scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_of_soft_targets_it_is_their_mean(own: Any, tmp_path: Path, pictures: Path, precision: str) -> None:
    train = own(CODE, {"loss": "Soft", "augment": "Halves"})
    weights = {"bars": 2.0, "dots": 4.0, "rings": 8.0}
    halves = {"name": "mine", "precision": precision}
    run = train(pictures, tmp_path / "run", loss={"name": "mine", "class_weights": weights}, augment=[halves])
    assert run.metrics[0]["train/loss"] == pytest.approx(np.dot([3, 6, 5], COUNTS) / 50, rel=1e-6)


def test_a_mean_refuses_them_by_name(own: Any, tmp_path: Path, pictures: Path) -> None:
    train = own(CODE, {"loss": "Mean"})
    with pytest.raises(ConfigError, match="loss 'mine' returns a mean over the batch") as caught:
        train(pictures, tmp_path / "run", loss={"name": "mine", "class_weights": "balanced"})
    assert "--loss.class_weights" in str(caught.value)


def test_a_loss_with_an_option_of_that_name_keeps_it(own: Any, tmp_path: Path, pictures: Path) -> None:
    run = own(CODE, {"loss": "Own"})(pictures, tmp_path / "run", loss={"name": "mine", "class_weights": 2.0})
    assert run.metrics[0]["val/loss"] == 2


def test_two_corrections_at_once_warn(own: Any, tmp_path: Path, pictures: Path) -> None:
    train = own(CODE, {"sampler": "Twice"})
    loss = {"name": "cross_entropy", "class_weights": "balanced"}
    both = train(pictures, tmp_path / "both", loss=loss, sampler="mine")
    one = train(pictures, tmp_path / "one", loss=loss)
    warning = "two corrections for imbalance at once"
    assert warning in (both.directory / "log.txt").read_text()
    assert warning not in (one.directory / "log.txt").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "balanced_softmax"}, ""),
        ({"sampler": {"name": "balanced", "temperature": 1.0}, "loss": "logit_adjusted"}, ""),
        ({"loss": {"name": "logit_adjusted", "class_weights": "sqrt"}},
         "two corrections for imbalance at once: class weights, and loss 'logit_adjusted'"),
        ({"loss": "class_balanced", "sampler": "balanced"},
         "two corrections for imbalance at once: loss 'class_balanced', and a sampler that changes the shares"),
        ({"loss": {"name": "ldam", "class_weights": "effective"}, "sampler": {"name": "balanced", "temperature": 2.0}},
         "three corrections for imbalance at once: class weights, loss 'ldam', and a sampler that changes the shares"),
    ],
)  # fmt: skip
def test_corrections_that_stack_are_told(tmp_path: Path, pictures: Path, options: dict[str, Any], told: str) -> None:
    run = clsfit.train(pictures, output=tmp_path / "run", epochs=1, verbosity=0, **options)
    log = (run.directory / "log.txt").read_text()
    assert ("corrections for imbalance at once" in log) is bool(told)
    assert told in log


@pytest.mark.parametrize("loss", ["logit_adjusted", "balanced_softmax"])
@pytest.mark.parametrize("sampler", ["balanced", {"name": "balanced", "temperature": 2.0}])
def test_a_loss_that_goes_by_the_shares_refuses_a_sampler_that_changes_them(
    tmp_path: Path, pictures: Path, loss: str, sampler: Any
) -> None:
    with pytest.raises(ConfigError, match=f"loss '{loss}' goes by the classes' shares") as caught:
        clsfit.train(pictures, output=tmp_path / "run", loss=loss, sampler=sampler, verbosity=0)
    assert f"--loss {loss}, --sampler balanced" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_loss_is_told_of_each_epoch_before_its_first_step(own: Any, tmp_path: Path, pictures: Path) -> None:
    """Also of one that a resume goes on inside: ``test_resume.py`` trains with such a loss."""
    code = """
class Told(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.heard = []
    def begin_epoch(self, epoch, epochs):
        self.heard.append((epoch, epochs))
    def forward(self, logits, targets):
        self.heard.append("step" if self.training else "judged")
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

class Note:
    @hookimpl
    def on_fit_start(self, run):
        run.loss.heard.clear()
    @hookimpl
    def on_fit_end(self, run):
        from pathlib import Path
        Path(run.directory.path, "heard.txt").write_text(repr(run.loss.heard))
"""
    train = own(code, {"loss": "Told", "callback": "Note"})
    run = train(pictures, tmp_path / "run", loss="mine", epochs=2, batch_size=25, callback=["mine"])
    assert (run.directory / "heard.txt").read_text() == repr(
        [(0, 2), "step", "step", "judged", (1, 2), "step", "step", "judged"]
    )


def test_from_the_command_line(clsfit: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    clsfit("train", pictures, "--epochs", 1, "--loss.class_weights", "{bars: 2, rings: 0.5}", "-o", "run")
    recorded = (tmp_path / "run" / "config.yaml").read_text()
    assert "class_weights: {bars: 2.0, rings: 0.5}" in recorded
    changed = clsfit("train", pictures, "--loss.class_weights", "balanced", "-o", "run", "--resume", code=4)
    assert "loss.class_weights: {'bars': 2.0, 'rings': 0.5} -> balanced" in changed.stderr
    clsfit("train", pictures, "-o", "run", "--resume", "--epochs", 1)
    scores = json.loads(clsfit("evaluate", "run", "--json").stdout)
    assert scores["loss"] == json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["val/loss"]
    for wrong, said in (
        ("half", "it should be 'balanced', 'effective' or 'sqrt'"),
        ("{bars: -1}", "greater than or equal to 0"),
    ):
        refused = clsfit("train", pictures, "--loss.class_weights", wrong, code=2)
        assert said in refused.stderr
