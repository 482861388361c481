"""What components owe is checked where they are built, and blamed on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import clsfit
from clsfit.engine.parts import order_of
from clsfit.errors import ConfigError, PluginError

CODE = """
class Sampler:
    def __init__(self, seed, kind: str = "twice"):
        self.kind = kind

    def order(self, epoch, targets):
        n = len(targets)
        return {
            "twice": lambda: np.arange(2 * n) % n,
            "short": lambda: np.arange(n // 3),
            "growing": lambda: np.arange(10 + epoch),
            "outside": lambda: np.arange(n) + 1,
            "negative": lambda: np.arange(n) - 1,
            "mask": lambda: np.ones(n, dtype=bool),
            "empty": lambda: np.arange(0),
            "broken": lambda: np.arange(n)[:, 0],
        }[self.kind]()

class Bare:
    when = "epoch"
    higher_is_better = True
    def __init__(self): pass
    def step(self, value=None): pass
    def update(self, logits, targets): pass

class Quiet:
    accumulate = None
    def __init__(self): pass
"""


@pytest.mark.parametrize(("kind", "samples"), [("twice", 100), ("short", 16)])
def test_an_order_of_any_length(own: Any, pictures: Path, tmp_path: Path, kind: str, samples: int) -> None:
    train = own(CODE, {"sampler": "Sampler"})
    run = train(pictures, tmp_path / "run", sampler={"name": "mine", "kind": kind}, batch_size=6)
    steps = -(-samples // 6)
    assert [row["step"] for row in run.metrics] == [steps, 2 * steps]


@pytest.mark.parametrize("kind", ["growing", "outside", "negative", "mask", "empty", "broken"])
def test_a_wrong_order_is_the_sampler_s_fault(own: Any, pictures: Path, tmp_path: Path, kind: str) -> None:
    train = own(CODE, {"sampler": "Sampler"})
    with pytest.raises(PluginError, match="sampler"):
        train(pictures, tmp_path / "run", sampler={"name": "mine", "kind": kind})


def test_order_of_names_the_positions() -> None:
    class Reversed:
        def order(self, epoch: int, targets: Any) -> Any:
            return [2, 1, 0, 3]

    with pytest.raises(PluginError, match="positions 0 to 3 in a set of 3"):
        order_of(Reversed(), 0, torch.zeros(3).numpy())


@pytest.mark.parametrize(("kind", "lacking"), [("scheduler", "state_dict"), ("metric", "compute")])
def test_missing_members_are_named(own: Any, pictures: Path, tmp_path: Path, kind: str, lacking: str) -> None:
    train = own(CODE, {kind: "Bare"})
    chosen = {kind: ["mine"] if kind == "metric" else "mine"}
    with pytest.raises(PluginError, match=f"'mine': its Bare has no .*{lacking}"):
        train(pictures, tmp_path / "run", **chosen)


def test_accumulate_none_asks_for_nothing(own: Any, pictures: Path, tmp_path: Path) -> None:
    train = own(CODE, {"callback": "Quiet"})
    run = train(pictures, tmp_path / "run", callback=["mine", {"name": "accumulate", "steps": 7}])
    assert run.metrics[-1]["step"] == 2


def test_torch_s_fused_optimizers_and_schedulers_fit(own: Any, pictures: Path, tmp_path: Path) -> None:
    code = """
class Fused(torch.optim.AdamW):
    def __init__(self, params, lr: float = 1e-3):
        super().__init__(params, lr, fused=True)

class Halving(torch.optim.lr_scheduler.StepLR):
    when = "epoch"
    def __init__(self, optimizer):
        super().__init__(optimizer, 1, 0.5)
"""
    train = own(code, {"optimizer": "Fused", "scheduler": "Halving"})
    chosen = {"optimizer": "mine", "scheduler": "mine", "epochs": 3}
    run = train(pictures, tmp_path / "run", **chosen)
    assert [row["lr"] for row in run.metrics] == [1e-3, 5e-4, 2.5e-4]
    (run.directory / "summary.json").unlink()
    for save in sorted((run.directory / "checkpoints").glob("step-*"))[1:]:
        for file in save.iterdir():
            file.unlink()
        save.rmdir()
    before = (run.directory / "last.safetensors").read_bytes()
    train(pictures, run.directory, resume=True, **chosen)
    assert (run.directory / "last.safetensors").read_bytes() == before


def test_overwrite_needs_a_name() -> None:
    import clsfit

    with pytest.raises(ConfigError, match="-o"):
        clsfit.train(overwrite=True, verbosity=0)
    with pytest.raises(ConfigError, match="give one of them"):
        clsfit.train(output="x", overwrite=True, resume=True, verbosity=0)


@pytest.mark.parametrize(
    "options",
    [
        {"callback": [{"name": "freeze", "pattern": "nothing_like_it"}]},
        {"callback": [{"name": "freeze", "unfreeze_epoch": 3}]},
        {"callback": [{"name": "early_stop", "monitor": "val/nothing"}]},
        {"callback": [{"name": "checkpoint", "monitor": "val/nothing"}]},
        {"scheduler": {"name": "plateau", "monitor": "val/nothing"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "real"])
def test_what_does_not_fit_the_run_is_refused_before_anything_is_written(
    tmp_path: Path, pictures: Path, options: dict[str, Any], dry_run: bool
) -> None:
    with pytest.raises(ConfigError):
        clsfit.train(pictures, output=tmp_path / "run", epochs=2, verbosity=0, dry_run=dry_run, **options)
    assert not (tmp_path / "run").exists()
