"""The checks for plugin authors: what clsfit brings along passes, and what breaks a contract is told so."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clsfit import hookimpl, testing
from clsfit.contracts import Preprocessing
from clsfit.registry import Plugins

CHECKS = {
    "loss": testing.check_loss,
    "optimizer": testing.check_optimizer,
    "scheduler": testing.check_scheduler,
    "metric": testing.check_metric,
    "callback": testing.check_callback,
    "model": testing.check_model,
    "sampler": testing.check_sampler,
    "augment": testing.check_augment,
}
BUNDLED = [
    (kind, offer.name)
    for kind in CHECKS
    for offer in Plugins.discover(bundled_only=True).offers(kind)
    if "torchvision" not in offer.component.help or offer.name == "resnet18"  # building all of them takes minutes
]  # names only: nothing is imported for that

ORDER = {"order": ("class_0", "class_1", "class_2", "class_3")}
MUST_BE_GIVEN = {("callback", "accumulate"): {"steps": 2}} | {("metric", n): ORDER for n in ("mae", "mse", "rmse")}


@pytest.mark.parametrize(("kind", "name"), BUNDLED)
def test_bundled_components_pass(kind: str, name: str) -> None:
    offer = Plugins.discover(bundled_only=True).find(kind, name)
    assert offer.component.params is not None
    CHECKS[kind](offer.load(), **dataclasses.asdict(offer.component.params(**MUST_BE_GIVEN.get((kind, name), {}))))


def test_options_and_sizes_are_handed_on() -> None:
    from clsfit_standard.losses.focal import Focal
    from clsfit_standard.models.mlp import MLP
    from clsfit_standard.optimizers.sgd import SGD

    testing.check_loss(Focal, gamma=0.5, num_classes=7)
    testing.check_model(MLP, hidden=(3,), in_channels=1, input_size=(5, 9), num_classes=2)
    testing.check_optimizer(SGD, lr=0.1, nesterov=True)
    with pytest.raises(TypeError):
        testing.check_loss(Focal, gama=1)


def test_every_check_is_exported_and_documented() -> None:
    checks = [name for name in testing.__all__ if name.startswith("check_")]
    assert sorted(checks) == sorted(check.__name__ for check in CHECKS.values())
    for name in testing.__all__:
        assert inspect.getdoc(getattr(testing, name))


def test_draw_pictures(tmp_path: Path) -> None:
    from PIL import Image

    folder = testing.draw_pictures(tmp_path / "data", {"a": 3, "b": 2}, size=5)
    drawn = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert drawn == ["a/000.png", "a/001.png", "a/002.png", "b/000.png", "b/001.png"]
    assert Image.open(folder / "a/000.png").size == (5, 5)
    again = testing.draw_pictures(tmp_path / "again", {"a": 3, "b": 2}, size=5)
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in drawn)


class GoodLoss(nn.Module):
    def forward(self, logits: Any, targets: Any) -> Any:
        return F.cross_entropy(logits, targets, reduction="none")


class MeanLoss(nn.Module):
    def forward(self, logits: Any, targets: Any) -> Any:
        return F.cross_entropy(logits, targets)


class ImageLoss(nn.Module):
    def forward(self, logits: Any, targets: Any, images: Any) -> Any:
        return F.cross_entropy(logits, targets, reduction="none") * (1 + images.mean((1, 2, 3)).abs())


class SquareLoss(nn.Module):
    def forward(self, logits: Any, targets: Any) -> Any:
        return F.softmax(logits, 1)


class NoGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, logits: Any, targets: Any) -> Any:
        return (logits.argmax(1) != targets).float() * self.weight


class Overflowing(nn.Module):
    def forward(self, logits: Any, targets: Any) -> Any:
        return -torch.log(logits.exp().gather(1, targets[:, None])[:, 0] / logits.exp().sum(1))


class BatchLoss(nn.Module):
    def forward(self, logits: Any, targets: Any) -> Any:
        return GoodLoss()(logits - logits.mean(0), targets)


class WrongSoft(nn.Module):
    soft_targets = True

    def forward(self, logits: Any, targets: Any) -> Any:
        if targets.is_floating_point():
            return -targets.mul(logits).sum(1)
        return F.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("loss", [GoodLoss, MeanLoss, ImageLoss])
def test_good_losses(loss: type) -> None:
    testing.check_loss(loss)


class Accuracy:
    higher_is_better = True

    def __init__(self) -> None:
        self.right = self.seen = 0

    def update(self, logits: Any, targets: Any) -> None:
        self.right += int((logits.argmax(1) == targets).sum())
        self.seen += len(targets)

    def merge(self, other: Any) -> None:
        self.right += other.right
        self.seen += other.seen

    def compute(self) -> Any:
        return self.right / self.seen if self.seen else None


class MeanOfBatchMeans(Accuracy):
    def update(self, logits: Any, targets: Any) -> None:
        self.right += float((logits.argmax(1) == targets).float().mean())  # type: ignore[assignment]
        self.seen += 1


class ForgetfulMerge(Accuracy):
    def merge(self, other: Any) -> None:
        self.right += other.right


class Directionless(Accuracy):
    higher_is_better = None  # type: ignore[assignment]


class Hoarder(Accuracy):
    def __init__(self) -> None:
        super().__init__()
        self.classes = {1, 2}


class Amnesiac(Accuracy):
    def state_dict(self) -> dict[str, Any]:
        return {"right": self.right}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.right = state["right"]


class TensorMetric(Accuracy):
    def compute(self) -> Any:
        return torch.tensor(self.right / self.seen)


def test_a_good_metric() -> None:
    testing.check_metric(Accuracy)


class Uphill(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.05, maximize=True)


class Forgetful(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.05, momentum=0.9)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"state": {}}


def one_group(params: Any) -> Any:
    return torch.optim.SGD([p for group in params for p in group["params"]], lr=0.05)


class DeafToTheFlag(torch.optim.SGD):
    _step_supports_amp_scaling = True

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.05)


def lbfgs(params: Any) -> Any:
    optimizer = torch.optim.SGD(params, lr=0.05)
    optimizer.needs_closure = True  # type: ignore[attr-defined]
    return optimizer


def adam(params: Any, lr: float = 0.05) -> Any:
    return torch.optim.Adam(params, lr=lr)


@pytest.mark.parametrize("optimizer", [adam, lbfgs])
def test_good_optimizers(optimizer: Any) -> None:
    testing.check_optimizer(optimizer)


def step_lr(optimizer: Any, every: int = 2) -> Any:
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, every)
    scheduler.when = "epoch"  # type: ignore[attr-defined]
    return scheduler


def without_when(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 2)


class Restarting:
    when = "step"

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 1.0 / self.steps

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Negative(Restarting):
    def step(self) -> None:
        super().step()
        self.optimizer.param_groups[0]["lr"] = -1.0


def test_a_good_scheduler() -> None:
    testing.check_scheduler(step_lr, every=4)


def narrow(num_classes: int, in_channels: int, input_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * input_size[0] * input_size[1], num_classes - 1))


def lazy(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 32 * 32), nn.LazyLinear(num_classes))


def frozen(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes)).requires_grad_(False)


class LooksAround(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, images: Any) -> Any:
        return self.head((images - images.mean(0)).flatten(1))


def pretrained(**methods: Any) -> Any:
    """A good model's factory, with weights that have ``methods`` in the place of good ones."""
    good = {"preprocessing": lambda: Preprocessing((32, 32), (0.5,), (0.5,)), "tensors": dict}

    def factory(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

    factory.pretrained = types.SimpleNamespace(**(good | methods))  # type: ignore[attr-defined]
    return factory


def test_a_model_with_weights() -> None:
    testing.check_model(pretrained())
    testing.check_model(pretrained(fit=lambda tensors, model: tensors))


def test_a_lazy_model() -> None:
    testing.check_model(lazy)


class Bell:
    def __init__(self, accumulate: int = 2) -> None:
        self.accumulate, self.rung = accumulate, 0

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        self.rung += 1

    def state_dict(self) -> dict[str, Any]:
        return {"rung": self.rung}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rung = state["rung"]


class Misspelt:
    @hookimpl
    def on_epoch_finish(self, run: Any) -> None:
        pass


class WrongArgument:
    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        pass


class Unmarked(Bell):
    def on_epoch_end(self, run: Any) -> None:
        pass


class Silent:
    pass


class HalfSaved(Misspelt):
    on_epoch_finish = None  # type: ignore[assignment]
    state_dict = dict

    @hookimpl
    def on_step_end(self) -> None:
        pass


def test_a_good_callback() -> None:
    testing.check_callback(Bell)
    with pytest.raises(AssertionError, match="accumulate"):
        testing.check_callback(Bell, accumulate=0)


class Unkeyed:
    def draw(self, key: Any, sizes: Any) -> Any:
        return {"angle": np.random.default_rng().random(len(sizes))}

    def matrix(self, parameters: Any, input_size: Any) -> Any:
        return np.tile(np.eye(3), (len(parameters["angle"]), 1, 1))


class Inverting:
    def draw(self, key: Any, sizes: Any) -> Any:
        return {"invert": key.uniform(1)[:, 0] < 0.5}

    def table(self, parameters: Any) -> Any:
        grey = np.arange(256, dtype=np.uint8)
        return np.where(parameters["invert"][:, None], 255 - grey, grey)


class TwoForms(Inverting):
    def apply(self, images: Any, targets: Any, parameters: Any) -> Any:
        return images, targets


class FloatTable(Inverting):
    def table(self, parameters: Any) -> Any:
        return super().table(parameters) / 255


class FloatImages:
    def draw(self, key: Any, sizes: Any) -> Any:
        return {"gain": key.uniform(1)[:, 0]}

    def apply(self, images: Any, targets: Any, parameters: Any) -> Any:
        return images * torch.as_tensor(parameters["gain"])[:, None, None, None], targets


class SecretMix(FloatImages):
    def apply(self, images: Any, targets: Any, parameters: Any) -> Any:
        return images, F.one_hot(targets, 4).float()


def test_a_good_augmentation() -> None:
    testing.check_augment(Inverting)


class Shuffled:
    def order(self, epoch: int, targets: Any) -> Any:
        return np.random.default_rng().permutation(len(targets))


class Shrinking:
    def order(self, epoch: int, targets: Any) -> Any:
        return np.arange(len(targets) - epoch)


class Beyond:
    def order(self, epoch: int, targets: Any) -> Any:
        return np.arange(len(targets)) + 1


class Listed:
    def order(self, epoch: int, targets: Any) -> Any:
        return list(range(len(targets)))


@pytest.mark.parametrize(
    ("check", "factory", "sentence"),
    [
        (testing.check_loss, SquareLoss, "one value per sample"),
        (testing.check_loss, NoGradient, "no gradient"),
        (testing.check_loss, Overflowing, "around 100"),
        (testing.check_loss, BatchLoss, "depends on its batch"),
        (testing.check_loss, WrongSoft, "soft targets"),
        (testing.check_loss, lambda: print, r"torch\.nn\.Module"),
        (testing.check_metric, MeanOfBatchMeans, "grouped in batches"),
        (testing.check_metric, ForgetfulMerge, "merge"),
        (testing.check_metric, Directionless, "higher_is_better"),
        (testing.check_metric, Hoarder, "a set, which cannot be saved"),
        (testing.check_metric, Amnesiac, "saved state"),
        (testing.check_metric, TensorMetric, "returns a float"),
        (testing.check_optimizer, Uphill, "does not descend"),
        (testing.check_optimizer, Forgetful, "goes on differently"),
        (testing.check_optimizer, one_group, "two groups"),
        (testing.check_optimizer, DeafToTheFlag, "found_inf"),
        (testing.check_scheduler, without_when, "when it steps"),
        (testing.check_scheduler, Restarting, "other rates"),
        (testing.check_scheduler, Negative, ">= 0"),
        (testing.check_model, narrow, r"\(3, 4\)"),
        (testing.check_model, frozen, "can be trained"),
        (testing.check_model, LooksAround, "depend on its batch"),
        (testing.check_model, pretrained(tensors=None), "method tensors"),
        (testing.check_model, pretrained(preprocessing=dict), "a Preprocessing, not a dict"),
        (testing.check_model, pretrained(fit=lambda tensors, model: {}), "the model's names and shapes"),
        (testing.check_callback, Misspelt, "on_epoch_finish"),
        (testing.check_callback, WrongArgument, "trainer"),
        (testing.check_callback, Unmarked, "on_epoch_end lacks @hookimpl"),
        (testing.check_callback, Silent, "no moment"),
        (testing.check_callback, HalfSaved, "come together"),
        (testing.check_augment, Unkeyed, "same key"),
        (testing.check_augment, TwoForms, "exactly one"),
        (testing.check_augment, FloatTable, "uint8"),
        (testing.check_augment, FloatImages, "keeps the pictures' form"),
        (testing.check_augment, SecretMix, "soft_targets = True"),
        (testing.check_sampler, Shuffled, "asked again"),
        (testing.check_sampler, Shrinking, "same number"),
        (testing.check_sampler, Beyond, "index the targets"),
        (testing.check_sampler, Listed, "int64 array"),
    ],
)
def test_what_breaks_a_contract(check: Callable[..., None], factory: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence) as raised:
        check(factory)
    assert "\n" not in str(raised.value)
