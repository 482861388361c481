"""A plugin with recipes and components of every kind, none of whose targets exists."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from clsfit.config import Config, resolve
from clsfit.registry import Plugins

HOOKS = """
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal
from annotated_types import Ge
from clsfit import Component, hookimpl

@dataclass
class Nothing: pass

@dataclass
class Focal:
    gamma: Annotated[float, "focus", Ge(0)] = 2.0

@dataclass
class Smooth:
    label_smoothing: Annotated[float, "smoothing", Ge(0)] = 0.0

@dataclass
class Adam:
    lr: Annotated[float, "rate", Ge(0)] = 1e-3
    betas: Annotated[tuple[float, float], "decays"] = (0.9, 0.999)

@dataclass
class Sgd:
    lr: Annotated[float, "rate", Ge(0)] = 0.1
    momentum: Annotated[float, "momentum"] = 0.9

@dataclass
class Cosine:
    T_max: Annotated[int | None, "epochs"] = None

@dataclass
class F1:
    average: Annotated[Literal["macro", "micro"], "averaging"] = "macro"

@dataclass
class Stop:
    free_on_resume: ClassVar[frozenset[str]] = frozenset({"note"})
    monitor: Annotated[str | None, "key"] = None
    patience: Annotated[int, "epochs", Ge(1)] = 10
    note: Annotated[str, "anything"] = ""
    extra: Annotated[Any, "a value"] = None

@dataclass
class Rings:
    pictures: Annotated[int, "how many", Ge(1)] = 100

def offer(kind, **params):
    def hook():
        for name, cls in params.items():
            yield Component(name.replace("__", "-"), f"not_there:{name}", f"{kind} {name}", cls)
    hook.__name__ = kind
    return hookimpl(hook)

clsfit_losses = offer("clsfit_losses", smooth=Smooth, focal=Focal)
clsfit_optimizers = offer("clsfit_optimizers", adam=Adam, sgd=Sgd)
clsfit_schedulers = offer("clsfit_schedulers", cosine=Cosine)
clsfit_metrics = offer("clsfit_metrics", accuracy=Nothing, f1=F1, top__k=Nothing)
clsfit_callbacks = offer("clsfit_callbacks", stop=Stop, other=Nothing)
clsfit_models = offer("clsfit_models", net=Nothing, heavy=None)
clsfit_datasets = offer("clsfit_datasets", rings=Rings)
clsfit_samplers = offer("clsfit_samplers", shuffle=Nothing)
clsfit_augments = offer("clsfit_augments", flip=Nothing)

@hookimpl
def clsfit_recipes():
    yield Component("default", __name__ + ":recipes/default.yaml", "what is used where nothing else is said")
    yield Component("moths", __name__ + ":recipes/moths.yaml", "for moths")
    yield Component("wrong", __name__ + ":recipes/wrong.yaml", "a mistake")
"""

DEFAULT = """
data: rings
model: net
loss: {name: smooth, label_smoothing: 0.1}
optimizer: adam
scheduler: cosine
sampler: shuffle
metric: [accuracy]
callback: []
epochs: 5
"""

MOTHS = """
loss: focal
metric: {name: f1, average: micro}
epochs: 7
"""


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The plugin, as entry point ``fake`` of a distribution ``fake``."""
    root = tmp_path_factory.mktemp("plugins")
    package = root / "clsfit_config_fake"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text(HOOKS)
    for name, text in {"default": DEFAULT, "moths": MOTHS, "wrong": "epochs: 3\n\nepocks: 4\n"}.items():
        (package / "recipes" / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        found = Plugins.discover(points=[EntryPoint("fake", "clsfit_config_fake", "clsfit")])
        assert not found.failed, found.warnings()
        yield found


@pytest.fixture
def configure(plugins: Plugins, tmp_path: Path) -> Callable[..., Config]:
    """``configure("loss: focal", epochs=3, env={"CLSFIT_SEED": "1"})``: YAML texts, sets, environment, options."""

    def call(*texts: str, env: dict[str, str] | None = None, sets: Any = (), recipe: str | None = None, **options: Any):
        files = []
        for i, text in enumerate(texts):
            files.append(tmp_path / f"{i}.yaml")
            files[-1].write_text(text)
        return resolve(plugins, recipe=recipe, files=files, environ=env or {}, sets=sets, options=options)

    return call
