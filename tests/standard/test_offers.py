"""The hook module: offers that agree with their factories, and nothing heavy imported."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from importlib import import_module, resources
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import clsfit_standard
import pytest
import yaml
from clsfit_standard.offers import optimizers

from clsfit import Component
from clsfit.contracts import FILLED
from clsfit.hookspecs import OFFERS

EXPECTED = {
    "loss": {"cross_entropy", "focal", "label_smoothing", "soft_f1", "mse"},
    "optimizer": {"sgd", "adam", "adamw"},
    "scheduler": {"constant", "step", "linear", "cosine", "onecycle", "plateau"},
    "metric": {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "top_k"}
    | {"mrr", "ndcg", "map", "mae", "mse", "rmse"},
    "callback": {"checkpoint", "early_stop", "accumulate", "clip_gradients", "freeze"},
    "model": {"small_cnn", "mlp", "resnet18", "efficientnet_b0", "vit_b_16"},
    "dataset": {"digits"},
    "sampler": {"shuffle", "balanced"},
    "augment": {"hflip", "crop", "random_resized_crop", "rotate", "center_crop", "grayscale", "mixup", "cutmix"},
    "recipe": {"default"},
}


def offers(kind: str) -> list[Component]:
    return list(getattr(clsfit_standard, OFFERS[kind])())


COMPONENTS = [
    pytest.param(offer, id=f"{kind}-{offer.name}") for kind in EXPECTED if kind != "recipe" for offer in offers(kind)
]


def factory_of(offer: Component) -> Any:
    module, _, name = offer.target.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("kind", EXPECTED)
def test_names(kind: str) -> None:
    names = [offer.name for offer in offers(kind)]
    assert len(names) == len(set(names))
    assert set(names) >= EXPECTED[kind]


@pytest.mark.parametrize("offer", COMPONENTS)
def test_options_are_the_factorys_own(offer: Component) -> None:
    """Every option is a parameter with the same default, and every parameter is an option or filled by the core."""
    assert offer.params is not None
    fields = dataclasses.fields(offer.params)
    empty = inspect.Parameter.empty
    options = {f.name: empty if f.default is dataclasses.MISSING else f.default for f in fields}
    signature = inspect.signature(factory_of(offer)).parameters
    named = {name: p for name, p in signature.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    assert {name: p.default for name, p in named.items() if name not in FILLED} == options


@pytest.mark.parametrize("offer", COMPONENTS)
def test_every_option_has_help(offer: Component) -> None:
    assert offer.params is not None
    hints = get_type_hints(offer.params, include_extras=True)
    for field in dataclasses.fields(offer.params):
        assert get_origin(hints[field.name]) is Annotated
        assert isinstance(get_args(hints[field.name])[1], str)


@pytest.mark.parametrize("offer", COMPONENTS)
def test_papers_are_cited_in_the_docstring(offer: Component) -> None:
    assert offer.help
    assert offer.paper.removeprefix("https://") in (factory_of(offer).__doc__ or "")


def test_default_recipe_names_bundled_components() -> None:
    package, _, path = offers("recipe")[0].target.partition(":")
    recipe = yaml.safe_load(resources.files(package).joinpath(path).read_text(encoding="utf-8"))
    for slot in ("model", "loss", "optimizer", "scheduler", "sampler"):
        choice = recipe[slot]
        assert (choice["name"] if isinstance(choice, dict) else choice) in EXPECTED[slot]
    assert recipe["data"] in EXPECTED["dataset"]
    assert recipe["metric"][0] == "accuracy"
    assert recipe["callback"] == ["checkpoint"]
    assert recipe["augment"] == []


def test_options_refuse_what_bounds_cannot_say() -> None:
    for options in {offer.params for offer in offers("scheduler")}:
        with pytest.raises(ValueError, match="warmup_epochs and warmup_steps"):
            options(warmup_epochs=1.0, warmup_steps=1)
        options(warmup_epochs=1.0)
    with pytest.raises(ValueError, match="nesterov"):
        optimizers.SGDOptions(nesterov=True, momentum=0.0)


def loaded_after(code: str) -> set[str]:
    """Modules in a fresh interpreter after ``code``."""
    code = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_hook_module_imports_no_torch() -> None:
    hooks = "; ".join(f"list(clsfit_standard.{OFFERS[kind]}())" for kind in EXPECTED)
    loaded = loaded_after(f"import clsfit_standard; {hooks}")
    assert "clsfit_standard.offers.losses" in loaded
    assert not {"torch", "torchvision", "sklearn", "numpy"} & loaded


TRAINING = """
import torch
from clsfit_standard.augments.geometry import Crop, HorizontalFlip
from clsfit_standard.callbacks.checkpoint import Checkpoint
from clsfit_standard.callbacks.clip_gradients import ClipGradients
from clsfit_standard.callbacks.early_stop import EarlyStop
from clsfit_standard.datasets import Digits
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal
from clsfit_standard.losses.soft_f1 import SoftF1
from clsfit_standard.metrics.counts import F1, Accuracy
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.metrics.ranks import MeanReciprocalRank
from clsfit_standard.models.mlp import MLP
from clsfit_standard.models.small_cnn import SmallCNN
from clsfit_standard.optimizers.adam import Adam
from clsfit_standard.optimizers.adamw import AdamW
from clsfit_standard.optimizers.sgd import SGD
from clsfit_standard.schedulers.decay import Cosine
from clsfit_standard.schedulers.onecycle import OneCycle
from types import SimpleNamespace

Digits().read(0)
for build in (MLP, SmallCNN):
    for optimize in (SGD, Adam, AdamW):
        model = build(num_classes=10, in_channels=1, input_size=(8, 8))
        optimizer = optimize([{"params": list(model.parameters())}])
        scheduler = Cosine(optimizer, 10, 5)
        for _ in range(2):
            logits, targets = model(torch.randn(4, 1, 8, 8)), torch.arange(4)
            (Focal()(logits, targets).mean() + SoftF1()(logits, targets)).backward()
            ClipGradients().on_gradients(SimpleNamespace(parameters=list(model.parameters())))
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        optimizer.load_state_dict(optimizer.state_dict())
        for metric in (Accuracy(), F1(10), AUROC(10), MeanReciprocalRank(10)):
            metric.update(logits, targets)
            metric.compute()
"""


def test_training_imports_nothing_slow() -> None:
    """torch's compiler and sympy take half a second each, torchvision and sklearn as much."""
    loaded = loaded_after(TRAINING)
    assert "torch" in loaded
    assert not {"torch._dynamo", "sympy", "torchvision", "sklearn", "PIL"} & loaded
