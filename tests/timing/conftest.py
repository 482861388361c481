"""Runs that save nothing, as the benchmark builds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsfit.build import build_run
from clsfit.config import resolve
from clsfit.data.intake import take_in
from clsfit.opening import open_data, wishes_of
from clsfit.registry import Plugins
from clsfit.training import Control, settle


@pytest.fixture
def builder(pictures: Path) -> Callable[..., Any]:
    """``builder(epochs=1)`` gives what makes a fresh run of a small net on small pictures."""

    def make(**options: Any) -> Callable[[], Any]:
        given = {"model": {"name": "mlp", "hidden": [8]}, "threads": 1, "workers": 0, "batch_size": 8, "device": "cpu"}
        config = resolve(Plugins.discover(), options=given | options | {"data": str(pictures)})
        intake = take_in(open_data(config.data), wishes_of(config.settings))
        config, reporter, device = settle(config, intake, Control(verbosity=0), None)
        return lambda: build_run(config, intake, device, reporter, None, starts=False)

    return make
