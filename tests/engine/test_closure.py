"""Optimizers that evaluate twice: the same gradients, checked and clipped like the first ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from clsfit.errors import DivergedError

OPTIMIZER = """
class Twice(torch.optim.SGD):
    needs_closure = True

    def __init__(self, params, lr: float = 0.1, stretch: float = 1.0):
        super().__init__(params, lr)
        self.stretch = stretch

    def step(self, closure):
        first = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(self.stretch)
        loss = closure()
        assert loss.ndim == 0 and torch.isfinite(loss)
        if self.stretch == 1:
            second = [p.grad for group in self.param_groups for p in group["params"]]
            assert all(torch.equal(a, b) for a, b in zip(first, second)), "dropout or clipping differ"
        super().step()
"""


def weights(run: Any) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run.directory / "last.safetensors")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_closure_gives_the_first_gradients_again(own: Any, pictures: Path, tmp_path: Path, precision: str) -> None:
    train = own(OPTIMIZER, {"optimizer": "Twice"})
    options = {
        "model": {"name": "mlp", "hidden": [16], "dropout": 0.4},
        "callback": [{"name": "clip_gradients", "max_norm": 0.01}, {"name": "accumulate", "steps": 2}],
        "precision": precision,
        "scheduler": "constant",
    }
    twice = train(pictures, tmp_path / "twice", optimizer="mine", **options)
    once = train(
        pictures,
        tmp_path / "once",
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0},
        **options,
    )
    for name, expected in weights(once).items():
        np.testing.assert_allclose(weights(twice)[name], expected, rtol=0, atol=1e-6, err_msg=name)


def test_what_the_closure_finds_never_reaches_the_weights(own: Any, pictures: Path, tmp_path: Path) -> None:
    train = own(OPTIMIZER, {"optimizer": "Twice"})
    with pytest.raises(DivergedError, match="not finite at step 1 "):
        train(pictures, tmp_path / "run", optimizer={"name": "mine", "stretch": 1e38})
