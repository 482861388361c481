"""A plugin of the test's own, trained with in this process."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from clsfit.config import resolve
from clsfit.registry import Plugins
from clsfit.training import Control, TrainedRun, train_config

Train = Callable[..., TrainedRun]

HEAD = """
import numpy as np
import torch
from clsfit import Component, hookimpl
"""

IN_RANKS = Path(__file__).with_name("in_ranks")

_numbers = itertools.count()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], Train]:
    """``own(code, {"loss": "Mine"})`` makes a plugin whose ``mine`` of each kind is the class named, and
    returns a ``train(data, output, resume=..., accept_changes=..., **options)`` that knows it."""

    def make(code: str, offered: dict[str, str]) -> Train:
        module = f"own_plugin_{next(_numbers)}"  # a fresh name, as modules are imported once per process
        plural = {"loss": "losses"}
        hooks = [
            f"@hookimpl\ndef clsfit_{plural.get(kind, kind + 's')}():\n"
            f"    yield Component('mine', '{module}:{name}', 'of a test')\n"
            for kind, name in offered.items()
        ]
        (tmp_path / f"{module}.py").write_text(HEAD + code + "\n" + "\n".join(hooks))
        monkeypatch.syspath_prepend(tmp_path)
        points = [*entry_points(group="clsfit"), EntryPoint(module, module, "clsfit")]

        def train(data: Any, output: Path, *, resume: bool = False, accept: bool = False, **options: Any) -> Any:
            plugins = Plugins.discover(points=points)
            given = {"model": {"name": "mlp", "hidden": [8]}, "threads": 1, "epochs": 2, "batch_size": 8}
            tree = given | options | {"data": str(data) if isinstance(data, Path) else data}
            config = resolve(plugins, options=tree)
            control = Control(output=output, resume=resume, accept_changes=accept, verbosity=0)
            return train_config(config, plugins, control)

        return train

    return make


def loaded(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def rank_sums() -> Any:
    """``in_ranks/rank_sums.py`` as a module, in this process."""
    return loaded(IN_RANKS / "rank_sums.py")


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Any]]]:
    """``team("module.name", world_size, **arguments)``: what that function of ``in_ranks`` returns on each rank."""
    made = loaded(Path(__file__).parents[1] / "ranks.py").Team(IN_RANKS, tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()
